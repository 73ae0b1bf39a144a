-- Has names lead to this machine. Arguments: the hosted zone's id, and names as in names.lua.
local names = require("names")

return function(identity, zone, ...)
    local status, answer = names.change(identity, zone, names.changes("UPSERT", { ... }))
    if status ~= 200 then
        error(("ChangeResourceRecordSets: %d %s"):format(status, answer), 0)
    end
    return ""
end
