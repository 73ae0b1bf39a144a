-- Has names no longer lead to this machine. Arguments: the hosted zone's id, and names as in names.lua.
-- A record that leads elsewhere by now stays: Route 53 removes one only as it is.
local names = require("names")

return function(identity, zone, ...)
    for _, change in ipairs(names.changes("DELETE", { ... })) do
        local status, answer = names.change(identity, zone, { change })
        if status ~= 200 and not answer:find("InvalidChangeBatch", 1, true) then
            error(("ChangeResourceRecordSets: %d %s"):format(status, answer), 0)
        end
    end
    return ""
end
