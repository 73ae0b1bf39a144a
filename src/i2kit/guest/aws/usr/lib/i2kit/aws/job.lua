-- The log stream of a job's run, where its machines say when they begin and how they ended. User data says
-- `job=RUN MOST`, how many may fail, `job_pods=COMPLETIONS PARALLELISM` where others may follow those that end well,
-- and `job_window=SECONDS` where runs share a stream: only what was said since then is about this one.
-- Source: CloudWatch Logs API reference.
local batches, client, posix = require("batches"), require("client"), require("posix")

return function(identity)
    local told = "\n" .. client.user_data() .. "\n"
    local run, most = told:match("\njob=(%d+) (%d+)\n")
    local group = told:match("\nlog_group=([^\n]+)\n")
    assert(run and group, "the user data has no job")
    local window = tonumber(told:match("\njob_window=(%d+)\n"))
    local completions, parallelism = told:match("\njob_pods=(%d+) (%d+)\n")
    local job = {
        most = tonumber(most),
        completions = tonumber(completions),
        parallelism = tonumber(parallelism),
    }
    local place = ('"logGroupName":%s,"logStreamName":%s'):format(batches.json(group), batches.json("i2kit/run-" .. run))
    local function logs(action, more)
        return client.ask(identity, "logs", "Logs_20140328." .. action, "{" .. place .. more .. "}")
    end
    local made, why = pcall(logs, "CreateLogStream", "")
    if not made and not why:find("ResourceAlreadyExistsException") then
        error(why, 0)
    end

    function job.say(message)
        local said = batches.json(message)
        logs("PutLogEvents", (',"logEvents":[{"timestamp":%.0f,"message":%s}]'):format(posix.now(), said))
    end

    -- The machines that began, and the statuses of those that ended; of both also the instances in order.
    function job.heard()
        local since = window and (',"startTime":%.0f'):format(posix.now() - window * 1000) or ""
        local began, ended = {}, {}
        local events = logs("GetLogEvents", ',"startFromHead":true' .. since)
        for instance, what in events:gmatch('"message"%s*:%s*"(i%-%x+) (%w+)"') do
            local found = what == "began" and began or ended
            if found[instance] == nil then
                found[#found + 1] = instance
            end
            found[instance] = tonumber(what) or what
        end
        return began, ended
    end

    return job
end
