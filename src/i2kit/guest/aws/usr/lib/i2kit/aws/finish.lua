-- Says that this machine of a job has finished, with its status, and takes it out of its group: for good, or for
-- another one in its place, where it failed and not too many have, or where more have to end well than may run at once.
-- Source: EC2 Auto Scaling API reference, TerminateInstanceInAutoScalingGroup.
local client = require("client")

local VERSION = "2011-01-01"

return function(identity, status)
    local job, own = require("job")(identity), identity.instance
    job.say(own .. " " .. status)
    local _, ended = job.heard()
    if ended[own] == nil then
        ended[#ended + 1] = own
    end
    ended[own] = tonumber(status)
    local failed, well, place = 0, 0, 0
    for _, instance in ipairs(ended) do
        if ended[instance] ~= 0 then
            failed = failed + 1
        else
            well = well + 1
        end
        if instance == own then
            place = well
        end
    end
    local again = status ~= "0" and failed <= job.most
    if status == "0" and job.completions then
        -- Others that end at the same time see the same order: each of them has a place of its own.
        again = job.completions - place >= job.parallelism
    end
    client.ask(identity, "autoscaling", "", client.form("TerminateInstanceInAutoScalingGroup", VERSION, {
        InstanceId = identity.instance,
        ShouldDecrementDesiredCapacity = tostring(not again),
    }))
end
