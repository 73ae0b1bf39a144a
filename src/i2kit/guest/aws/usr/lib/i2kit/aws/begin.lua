-- Says that this machine of a job begins. Prints `lost` where too many have begun and gone without saying how they
-- ended: then they have failed, and this one is not to be replaced any more.
local USUAL = 6

return function(identity)
    local job = require("job")(identity)
    job.say(identity.instance .. " began")
    local began, ended = job.heard()
    local lost = {}
    for _, instance in ipairs(began) do
        if instance ~= identity.instance and ended[instance] == nil then
            lost[#lost + 1] = instance
        end
    end
    -- As many may run beside it.
    local beside = (job.parallelism or 1) - 1
    if #lost - beside <= math.max(job.most, USUAL) then
        return
    end
    for _, instance in ipairs(lost) do
        job.say(instance .. " 255")
    end
    return "lost"
end
