-- Says that this machine of a job has finished, with its status, and takes it out of its group: for good, or, where
-- it failed and not too many have, for another one in its place. User data says `job=RUN MOST`, and the log group.
-- Source: CloudWatch Logs API reference; EC2 Auto Scaling API reference, TerminateInstanceInAutoScalingGroup.
local batches, client, posix = require("batches"), require("client"), require("posix")

local VERSION = "2011-01-01"

return function(identity, status)
    local told = "\n" .. client.user_data() .. "\n"
    local run, most = told:match("\njob=(%d+) (%d+)\n")
    local group = told:match("\nlog_group=([^\n]+)\n")
    assert(run and group, "the user data has no job")
    local place = ('"logGroupName":%s,"logStreamName":%s'):format(batches.json(group), batches.json("i2kit/run-" .. run))
    local function logs(action, more)
        return client.ask(identity, "logs", "Logs_20140328." .. action, "{" .. place .. more .. "}")
    end
    local made, why = pcall(logs, "CreateLogStream", "")
    if not made and not why:find("ResourceAlreadyExistsException") then
        error(why, 0)
    end
    local said = batches.json(identity.instance .. " " .. status)
    logs("PutLogEvents", (',"logEvents":[{"timestamp":%.0f,"message":%s}]'):format(posix.now(), said))
    local again = false
    if status ~= "0" then
        local failed, count = { [identity.instance] = true }, 1
        local events = logs("GetLogEvents", ',"startFromHead":true')
        for instance, code in events:gmatch('"message"%s*:%s*"(i%-%x+) (%d+)"') do
            if code ~= "0" and not failed[instance] then
                failed[instance], count = true, count + 1
            end
        end
        again = count <= tonumber(most)
    end
    client.ask(identity, "autoscaling", "", client.form("TerminateInstanceInAutoScalingGroup", VERSION, {
        InstanceId = identity.instance,
        ShouldDecrementDesiredCapacity = tostring(not again),
    }))
end
