-- What all containers together use, by the cgroup that they are below. Source: Linux, admin-guide/cgroup-v2.rst.
local posix = require("posix")
local usage = {}

local CGROUP = "/sys/fs/cgroup/pod/"
local before

local function number(text, name)
    return tonumber((text or ""):match(name .. " (%d+)"))
end

-- 1/1000 CPUs on average since the last call, and the working set in bytes: what cannot be dropped without
-- writing it somewhere. nil with the first call, and where there is nothing to read.
function usage.take(now_ms)
    local used_us = number(posix.read_file(CGROUP .. "cpu.stat"), "usage_usec")
    local memory = tonumber((posix.read_file(CGROUP .. "memory.current") or ""):match("%d+"))
    local inactive = number(posix.read_file(CGROUP .. "memory.stat"), "inactive_file")
    local first = before
    before = used_us and { used_us = used_us, at_ms = now_ms }
    if not (first and before and memory and inactive) or now_ms <= first.at_ms then
        return nil
    end
    local millis = (used_us - first.used_us) / (now_ms - first.at_ms)
    return math.max(0, math.floor(millis + 0.5)), math.max(0, memory - inactive)
end

return usage
