-- A command in a container, by crun, whose exit status says whether that is well.
--
-- It runs in a cgroup of its own below the container's, with the container's limits, by which it is ended with all
-- that it started when its time is over.
local loop, posix = require("loop"), require("posix")
local command = {}

local CRUN = { "/usr/bin/crun", "--root", "/run/crun", "--cgroup-manager", "cgroupfs", "exec" }
local CGROUP = "/sys/fs/cgroup/pod/%s/container/%s"
local OUTPUT_BYTES = 160 -- of the end: what is told of it
local ENOUGH_BYTES = 65536 -- of what is left to read once it ended

-- The kernel ends these before anything else when memory runs out.
local function expendable()
    posix.write_file("/proc/self/oom_score_adj", "900")
end

local function last_of(text)
    return text:sub(-OUTPUT_BYTES)
end

-- Run the words of a probe in a container. Whether the container is well, and what the command wrote last.
function command.run(probe)
    local group = "probe-" .. probe.kind
    local folder = CGROUP:format(probe.name, group)
    posix.make_folder(folder)
    local words = { unpack(CRUN) }
    words[#words + 1] = "--cgroup=" .. group
    if probe.no_new_privileges then
        -- crun takes all else from the container.
        words[#words + 1] = "--no-new-privs"
    end
    words[#words + 1] = probe.name
    for _, word in ipairs(probe.args) do
        words[#words + 1] = word
    end
    local started, why = posix.start(words, expendable)
    if not started then
        error(why, 0)
    end
    loop.mine(started.output)
    loop.mine(started.ended)
    local said, open = "", true
    local done = pcall(function()
        while true do
            local able
            if open then
                able = loop.wait({ started.ended, posix.READABLE }, { started.output, posix.READABLE })
            else
                able = loop.wait({ started.ended, posix.READABLE })
            end
            if able[2] then
                local text = posix.read_some(started.output)
                open = text ~= nil and text ~= ""
                said = last_of(said .. (text or ""))
            elseif able[1] then
                return
            end
        end
    end)
    if not done then
        posix.write_file(folder .. "/cgroup.kill", "1")
        posix.kill(started.pid, posix.KILL)
        posix.status_of(started.pid)
        error(loop.TIMEOUT, 0)
    end
    local status, rest = posix.status_of(started.pid), 0
    while open and rest < ENOUGH_BYTES do
        local text = posix.read_some(started.output)
        if not text or text == "" then
            break
        end
        said, rest = last_of(said .. text), rest + #text
    end
    if status == 0 then
        return true, ""
    end
    return false, ("exit status %d%s"):format(status, said == "" and "" or ": " .. said)
end

return command
