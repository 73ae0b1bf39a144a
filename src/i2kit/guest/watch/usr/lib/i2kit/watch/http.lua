-- A GET whose answer says whether a container is well. Source: Kubernetes, pkg/probe/http/{http,request}.go.
--
-- 200–399 is well. Redirects on the same host are followed, at most ten; one to another host is an answer, and well.
local http = {}

local HEAD_BYTES, LINE_BYTES, BODY_BYTES = 65536, 16384, 10240
local MOST_REDIRECTS = 10
local FOLLOWED = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local PORTS = { http = 80, https = 443 }

-- Gives a stream line by line and piece by piece. `read` gives what comes next, "" at the end.
local function reader(read)
    local text, found = "", {}
    -- A line without its end; raises an error where the stream ends before it or it has none for so long.
    function found.line()
        local from = 1
        while true do
            local last = text:find("\n", from, true)
            if last then
                local line = text:sub(1, last - 1):gsub("\r$", "")
                text = text:sub(last + 1)
                return line
            elseif #text > LINE_BYTES then
                error("the answer has a line without end", 0)
            end
            from = #text + 1
            local more = read()
            if more == "" then
                error(text == "" and "the connection was closed without an answer" or "the answer is cut off", 0)
            end
            text = text .. more
        end
    end
    -- At most so many bytes, "" at the end.
    function found.some(most)
        if text == "" then
            text = read()
        end
        local part = text:sub(1, most)
        text = text:sub(most + 1)
        return part
    end
    return found
end

-- The status and the headers that matter, by their names in small letters.
local function head(from)
    local size = 0
    local function line()
        local found = from.line()
        size = size + #found + 2
        if size > HEAD_BYTES then
            error("the answer has headers without end", 0)
        end
        return found
    end
    while true do
        local first = line()
        local status = tonumber(first:match("^HTTP/1%.%d (%d%d%d)%f[%D]"))
        if not status then
            error("the answer is not HTTP: " .. first, 0)
        end
        local headers = {}
        while true do
            local name, value = line():match("^([^:]*):%s*(.-)%s*$")
            if not name then
                break
            end
            headers[name:lower()] = value
        end
        -- What comes before the answer, such as 103, but for 101.
        if status >= 200 or status == 101 then
            return status, headers
        end
    end
end

-- Read a body, of which the first bytes do. Raises an error where it is cut off.
local function body(from, status, headers)
    local parts, size = {}, 0
    -- So many bytes of it, or to the end of the stream. Whether more can follow.
    local function take(count)
        while count > 0 and size < BODY_BYTES do
            local part = from.some(math.min(count, BODY_BYTES - size))
            if part == "" then
                return false
            end
            parts[#parts + 1] = part
            size, count = size + #part, count - #part
        end
        return true
    end
    local length = tonumber((headers["content-length"] or ""):match("^%d+$"))
    if status < 200 or status == 204 or status == 304 then
        return ""
    elseif (headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then
        while size < BODY_BYTES do
            local count = tonumber(from.line():match("^%s*(%x+)") or "", 16)
            if not count then
                error("the answer's body has no size", 0)
            elseif count == 0 then
                break
            elseif not take(count) then
                error("the answer is cut off", 0)
            end
            if size < BODY_BYTES then
                from.line()
            end
        end
    elseif length then
        if not take(length) then
            error("the answer is cut off", 0)
        end
    else
        take(math.huge)
    end
    return table.concat(parts)
end

-- Text as a request's line can have it.
local function encoded(text)
    return (text:gsub("[^!-~]", function(one) return ("%%%02X"):format(one:byte()) end))
end

local function bracketed(host)
    return host:find(":", 1, true) and "[" .. host .. "]" or host
end

-- The request for a place, { scheme=, host=, port=, path= }, as text.
function http.request(probe, place)
    local host, agent, accept = nil, "i2kit-probe", "*/*"
    local lines = {}
    for _, header in ipairs(probe.headers) do
        local name, value = header[1], header[2]
        local known = name:lower()
        if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") or value:find("[%z\1-\8\10-\31\127]") then
            error("no request can have the header " .. name, 0)
        elseif known == "host" then
            host = host or value
        elseif known == "user-agent" then
            agent = value
        elseif known == "accept" then
            accept = value
        elseif known ~= "connection" and known ~= "content-length" and known ~= "transfer-encoding" then
            lines[#lines + 1] = name .. ": " .. value
        end
    end
    if place.elsewhere then
        host = nil
    end
    for name, value in pairs { ["User-Agent"] = agent, Accept = accept } do
        if value ~= "" then
            lines[#lines + 1] = name .. ": " .. value
        end
    end
    local own = bracketed(place.host) .. ":" .. place.port
    table.sort(lines)
    return ("GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n"):format(
        encoded(place.path), host and host ~= "" and host or own,
        #lines > 0 and table.concat(lines, "\r\n") .. "\r\n" or ""
    )
end

-- A path without `.` and `..` (RFC 3986, 5.2.4).
local function straight(path)
    local before, query = path:match("^([^?]*)(.*)$")
    local parts = {}
    for part in (before .. "/"):gmatch("([^/]*)/") do
        if part == ".." then
            if #parts > 1 then
                parts[#parts] = nil
            end
        elseif part ~= "." then
            parts[#parts + 1] = part
        end
    end
    if before:find("/%.%.?$") then
        parts[#parts + 1] = ""
    end
    local found = table.concat(parts, "/")
    return (found:sub(1, 1) == "/" and found or "/" .. found) .. query
end

-- Where a Location leads from a place; nil where that is another host.
function http.follow(place, location)
    location = location:gsub("#.*$", "")
    local scheme, rest = location:match("^(%a[%w+.-]*):(.*)$")
    local authority, path = (rest or location):match("^//([^/?]*)(.*)$")
    if not authority then
        if scheme then
            error("the answer redirects to " .. location, 0)
        end
        path = location
        if path == "" then
            path = place.path
        elseif path:sub(1, 1) == "?" then
            path = place.path:gsub("%?.*$", "") .. path
        elseif path:sub(1, 1) ~= "/" then
            path = place.path:gsub("%?.*$", ""):gsub("[^/]*$", "") .. path
        end
        return {
            scheme = place.scheme, host = place.host, port = place.port, path = straight(path),
            elsewhere = place.elsewhere,
        }
    end
    scheme = (scheme or place.scheme):lower()
    authority = authority:gsub("^.*@", "")
    local host, port = authority:match("^%[(.*)%]:?(%d*)$")
    if not host then
        host, port = authority:match("^([^:]*):?(%d*)$")
    end
    if host ~= place.host then
        return nil
    end
    port = port ~= "" and tonumber(port) or PORTS[scheme]
    if not PORTS[scheme] or port > 65535 then
        error("the answer redirects to " .. location, 0)
    end
    if path:sub(1, 1) ~= "/" then
        path = "/" .. path
    end
    return { scheme = scheme, host = host, port = port, path = straight(path), elsewhere = true }
end

-- Ask as the probe says, at an address where it names no host. `open` gives a connection to { scheme=, host=,
-- port= }. Whether the container is well, and what was answered. Raises an error where nothing could be.
function http.ask(probe, address, open)
    local path = probe.path:gsub("#.*$", "")
    local place = {
        scheme = (probe.scheme or "HTTP"):lower(),
        host = probe.host or address,
        port = probe.port,
        path = path:sub(1, 1) == "/" and path or "/" .. path,
    }
    for redirects = 0, MOST_REDIRECTS do
        local connection = open(place)
        connection.write(http.request(probe, place))
        local from = reader(connection.read)
        local status, headers = head(from)
        local text = body(from, status, headers)
        connection.close()
        local location = headers.location
        if FOLLOWED[status] and location and location ~= "" then
            if redirects == MOST_REDIRECTS then
                return false, ("HTTP %d: more than %d redirects"):format(status, MOST_REDIRECTS)
            end
            place = http.follow(place, location)
            if not place then
                return true, "HTTP " .. status
            end
        else
            local said = ("HTTP %d"):format(status)
            return status >= 200 and status < 400, text == "" and said or said .. ": " .. text
        end
    end
end

return http
