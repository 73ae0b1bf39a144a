-- Signs requests to AWS: Signature Version 4 (IAM user guide, "Create a signed AWS API request"). Pure.
local bearssl = require("bearssl")
local sigv4 = {}

local function hex(bytes)
    return (bytes:gsub(".", function(one) return ("%02x"):format(one:byte()) end))
end

-- The value of the header Authorization for a POST to `path` (`/` where none is given). `headers` are all that are signed, names in small
-- letters; they hold host and x-amz-date (YYYYMMDDTHHMMSSZ).
function sigv4.authorization(headers, body, service, region, key_id, secret, path)
    local names = {}
    for name in pairs(headers) do
        names[#names + 1] = name
    end
    table.sort(names)
    local lines = { "POST", path or "/", "" }
    for _, name in ipairs(names) do
        local value = headers[name]:gsub("^%s+", ""):gsub("%s+$", ""):gsub(" +", " ")
        lines[#lines + 1] = name .. ":" .. value
    end
    local signed = table.concat(names, ";")
    lines[#lines + 1] = ""
    lines[#lines + 1] = signed
    lines[#lines + 1] = hex(bearssl.sha256(body))
    local time = headers["x-amz-date"]
    local day = time:sub(1, 8)
    local scope = table.concat({ day, region, service, "aws4_request" }, "/")
    local request = hex(bearssl.sha256(table.concat(lines, "\n")))
    local text = table.concat({ "AWS4-HMAC-SHA256", time, scope, request }, "\n")
    local key = "AWS4" .. secret
    for _, part in ipairs { day, region, service, "aws4_request", text } do
        key = bearssl.hmac(key, part)
    end
    return ("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s"):format(
        key_id, scope, signed, hex(key)
    )
end

return sigv4
