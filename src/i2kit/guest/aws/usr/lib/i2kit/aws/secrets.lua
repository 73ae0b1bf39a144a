-- What Parameter Store has below a path, as `secret/NAME/KEY=VALUE` in lines, by their names.
-- Parameters are PATH/NAME/KEY/NUMBER; the parts of a value have numbers from 1 on, and the first begins with `=`.
-- The path ends with `-COUNT`, how many parameters there are: less would be secrets that are cut off.
-- Source: Systems Manager API reference, GetParametersByPath.
local client = require("client")

return function(identity, path)
    local found, count, more = {}, 0, ""
    repeat
        local body = ('{"Path":"%s","Recursive":true,"WithDecryption":true,"MaxResults":10%s}'):format(path, more)
        local answer = client.ask(identity, "ssm", "AmazonSSM.GetParametersByPath", body):gsub("\\/", "/")
        for parameter in answer:gmatch("{[^{}]*}") do
            local name = client.field(parameter, "Name")
            local key, number = (name or ""):sub(#path + 2):match("^(.*)/(%d+)$")
            if key then
                found[key] = found[key] or {}
                found[key][tonumber(number)] = client.field(parameter, "Value")
                count = count + 1
            end
        end
        local token = answer:match('"NextToken"%s*:%s*"([^"]+)"')
        more = token and (',"NextToken":"%s"'):format(token) or ""
    until more == ""
    local wanted = path:match("%-(%d+)$")
    if count ~= tonumber(wanted) then
        error(("Parameter Store has %d of %s parameters below %s"):format(count, wanted, path), 0)
    end
    local lines = {}
    for key, parts in pairs(found) do
        lines[#lines + 1] = "secret/" .. key .. table.concat(parts) .. "\n"
    end
    table.sort(lines)
    return table.concat(lines)
end
