-- When a container's probes are due and what their answers mean. Pure: time comes in, decisions go out.
-- Source: Kubernetes, pkg/kubelet/prober/worker.go.
--
-- A container starts over whenever it starts: liveness is true until it fails, readiness false until it succeeds,
-- and both wait until the startup probe succeeded. What failed for good is not asked again before that.
local schedule = {}

local NEVER = math.huge

-- The state of one probe, of a container that does not run yet.
function schedule.new(probe)
    return { probe = probe, due_ms = NEVER, run = 0, passed = nil }
end

-- The container of these states started.
function schedule.started(states, now_ms)
    local gated = false
    for _, state in ipairs(states) do
        gated = gated or state.probe.kind == "startup"
    end
    for _, state in ipairs(states) do
        state.started_ms, state.run, state.last, state.passed = now_ms, 0, nil, nil
        state.waits = gated and state.probe.kind ~= "startup"
        state.due_ms = state.waits and NEVER or now_ms + state.probe.initial_delay_s * 1000
    end
end

-- The container of these states ended.
function schedule.ended(states)
    for _, state in ipairs(states) do
        state.due_ms, state.passed = NEVER, nil
    end
end

-- An attempt begins: the next one comes a period later, at the earliest when this one is over.
function schedule.began(state, now_ms)
    state.due_ms = now_ms + state.probe.period_s * 1000
end

-- An attempt was answered. True where the container has to be started anew.
function schedule.answered(states, state, ok, now_ms)
    local probe = state.probe
    state.run = state.last == ok and state.run + 1 or 1
    state.last = ok
    if state.run < (ok and probe.success_threshold or probe.failure_threshold) then
        return false
    end
    state.passed = ok
    if probe.kind == "startup" and ok then
        state.due_ms = NEVER
        for _, other in ipairs(states) do
            if other.waits then
                other.waits = false
                other.due_ms = math.max(now_ms, other.started_ms + other.probe.initial_delay_s * 1000)
            end
        end
    elseif probe.kind ~= "readiness" and not ok then
        for _, other in ipairs(states) do
            other.due_ms = NEVER
        end
        return true
    end
    return false
end

-- Whether nothing of the container's probes keeps it from serving.
function schedule.ready(states)
    for _, state in ipairs(states) do
        if state.probe.kind ~= "liveness" and not state.passed then
            return false
        end
    end
    return true
end

return schedule
