-- Calls of AWS's APIs as the machine's own role, with what the metadata service knows (version 2, by a token).
-- Nothing is kept between calls: the service renews credentials before they expire, and it is near.
local bearssl, posix, sigv4 = require("bearssl"), require("posix"), require("sigv4")
local client = {}

local METADATA, SECONDS = "169.254.169.254", 10
local ROOTS = debug.getinfo(1, "S").source:match("^@(.*/)") .. "roots.der"

-- The body of a message in HTTP/1.1, if all of it is in the text that came so far.
local function body_of(head, rest)
    local length = head:match("\ncontent%-length: *(%d+)")
    if length then
        return #rest >= tonumber(length) and rest:sub(1, tonumber(length)) or nil
    end
    if not head:find("\ntransfer%-encoding: *chunked") then
        return nil
    end
    local parts, at = {}, 1
    while true do
        local _, after, size = rest:find("^(%x+)[^\n]*\n", at)
        size = size and tonumber(size, 16)
        if not size or #rest < after + size then
            return nil
        elseif size == 0 then
            return table.concat(parts)
        end
        parts[#parts + 1] = rest:sub(after + 1, after + size)
        at = after + size + 3
    end
end

-- Status and body of the answer that `read` gives piece by piece, nil at its end.
function client.answer(read)
    local text = ""
    while true do
        local said = read()
        text = text .. (said or "")
        local head, rest = text:match("^(.-\r\n)\r\n(.*)$")
        if head then
            local status = tonumber(head:match("^HTTP/1%.%d (%d+)"))
            local body = body_of(head:lower(), rest)
            if not body and not said and not head:lower():find("\ncontent%-length:") then
                body = rest
            end
            if status and body then
                return status, body
            end
        end
        if not said then
            error("the answer is cut off", 0)
        end
    end
end

local function ask_metadata(method, path, header)
    local fd = posix.connect(METADATA, 80, SECONDS)
    local done, status, body = pcall(function()
        posix.write_all(fd, ("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n%s\r\n\r\n")
            :format(method, path, METADATA, header))
        return client.answer(function()
            local said = posix.read(fd)
            return said ~= "" and said or nil
        end)
    end)
    posix.close(fd)
    if not done then
        error("metadata service: " .. status, 0)
    elseif status ~= 200 then
        error(("metadata service: %s is answered with %d"):format(path, status), 0)
    end
    return body
end

-- A function that gives what the metadata service has at a path below /latest/.
local function metadata()
    local token = ask_metadata("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60")
    return function(path)
        return ask_metadata("GET", "/latest/" .. path, "X-aws-ec2-metadata-token: " .. token)
    end
end

function client.user_data()
    return metadata()("user-data")
end

-- The text of a key in a document of JSON where the key's name is not used twice and its value has no escapes.
local function field(document, key)
    return document:match('"' .. key .. '"%s*:%s*"([^"\\]*)"')
end
client.field = field

-- What the metadata service has at a path below /latest/meta-data/.
function client.about(path)
    return metadata()("meta-data/" .. path)
end

-- Where and as whom to call: what `call` needs to know.
function client.identity(region)
    local ask = metadata()
    local role = ask("meta-data/iam/security-credentials/"):match("%S+")
    local found = ask("meta-data/iam/security-credentials/" .. role)
    return {
        region = region,
        domain = ask("meta-data/services/domain"):match("%S+"),
        instance = ask("meta-data/instance-id"):match("%S+"),
        key_id = assert(field(found, "AccessKeyId"), "the role has no credentials"),
        secret = assert(field(found, "SecretAccessKey"), "the role has no credentials"),
        token = assert(field(found, "Token"), "the role has no credentials"),
    }
end

-- Status and body of one call. With a target the body is JSON (1.1), with a path of its own XML, else it is the form
-- of a query. A service that has no regions is called as that of its home.
function client.call(identity, service, target, body, path)
    local region, host = identity.region, ("%s.%s.%s"):format(service, identity.region, identity.domain)
    if path then
        region, host = "us-east-1", service .. "." .. identity.domain
    end
    local headers = {
        host = host,
        ["x-amz-date"] = os.date("!%Y%m%dT%H%M%SZ"),
        ["x-amz-security-token"] = identity.token,
        ["content-type"] = "application/x-www-form-urlencoded; charset=utf-8",
    }
    if target ~= "" then
        headers["x-amz-target"], headers["content-type"] = target, "application/x-amz-json-1.1"
    elseif path then
        headers["content-type"] = "text/xml"
    end
    headers.authorization =
        sigv4.authorization(headers, body, service, region, identity.key_id, identity.secret, path)
    local lines = { ("POST %s HTTP/1.1"):format(path or "/") }
    for name, value in pairs(headers) do
        lines[#lines + 1] = name .. ": " .. value
    end
    lines[#lines + 1] = "connection: close\r\ncontent-length: " .. #body .. "\r\n\r\n"
    local connection = bearssl.connect(host, 443, ROOTS, SECONDS)
    local done, status, answer = pcall(function()
        bearssl.write(connection, table.concat(lines, "\r\n") .. body)
        return client.answer(function() return bearssl.read(connection) end)
    end)
    posix.close(connection.fd)
    if not done then
        error(status, 0)
    end
    return status, answer
end

-- The body of a call's answer. What is refused is an error, with AWS's name for it.
function client.ask(identity, service, target, body)
    local status, answer = client.call(identity, service, target, body)
    if status ~= 200 then
        local what = target ~= "" and target or body:match("^Action=(%w+)")
        local why = client.field(answer, "__type") or answer:match("<Code>(.-)</Code>") or answer
        local about = client.field(answer, "message") or answer:match("<Message>(.-)</Message>") or ""
        error(("%s: %d %s %s"):format(what, status, why, about), 0)
    end
    return answer
end

-- The body of a query API's call.
function client.form(action, version, parameters)
    local words = { "Action=" .. action .. "&Version=" .. version }
    for name, value in pairs(parameters) do
        local escaped = value:gsub("[^%w%-_.~]", function(one) return ("%%%02X"):format(one:byte()) end)
        words[#words + 1] = name .. "=" .. escaped
    end
    return table.concat(words, "&")
end

return client
