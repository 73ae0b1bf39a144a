-- Many things at once in one process: each task is a coroutine that waits for its files, until its time is over.
local posix = require("posix")
local loop = { TIMEOUT = "timeout" }

local tasks = {} -- of coroutines: { wanted=, wake_ms=, deadline_ms=, done=, files= }
local current

local function step(thread, ...)
    local task, before = tasks[thread], current
    current = task
    local fine, result, text = coroutine.resume(thread, ...)
    current = before
    if coroutine.status(thread) == "dead" then
        tasks[thread] = nil
        for fd in pairs(task.files) do
            posix.close(fd)
        end
        if fine then
            task.done(result, text)
        else
            task.done(false, result)
        end
    else
        task.wanted, task.wake_ms = result, text or math.huge
    end
end

-- Do this with so much time; `done` gets its two results then, or false and the error. Files that it has
-- opened (`loop.mine`) are closed at its end.
function loop.start(act, deadline_ms, done)
    local thread = coroutine.create(act)
    tasks[thread] = { deadline_ms = deadline_ms, done = done, files = {}, wanted = {}, wake_ms = math.huge }
    step(thread)
    return thread
end

-- End a task before its time, as if that were over.
function loop.cancel(thread)
    if tasks[thread] then
        tasks[thread].deadline_ms = 0
    end
end

-- Whether a task goes on.
function loop.alive(thread)
    return tasks[thread] ~= nil
end

-- This file is the task's: it is closed with it.
function loop.mine(fd)
    current.files[fd] = true
    return fd
end

function loop.close(fd)
    current.files[fd] = nil
    posix.close(fd)
end

-- Within a task: wait until one of these { fd, events } can be used; which, as a list of booleans. Raises
-- loop.TIMEOUT.
function loop.wait(...)
    local able = coroutine.yield({ ... })
    if not able then
        error(loop.TIMEOUT, 0)
    end
    return able
end

-- Within a task.
function loop.sleep(milliseconds)
    if not coroutine.yield({}, posix.ticks() + milliseconds) then
        error(loop.TIMEOUT, 0)
    end
end

-- Within a task: what can be read from the file, "" at its end. It waits even where there is something already:
-- whoever sends without end holds up nobody else.
function loop.read(fd, most)
    while true do
        loop.wait({ fd, posix.READABLE })
        local text, why = posix.read_some(fd, most)
        if text then
            return text
        elseif why then
            error(why, 0)
        end
    end
end

function loop.write(fd, text)
    while text ~= "" do
        local count, why = posix.try_write(fd, text)
        if not count then
            error(why, 0)
        elseif count == 0 then
            loop.wait({ fd, posix.WRITABLE })
        end
        text = text:sub(count + 1)
    end
end

-- Wait for whatever comes next, at most until then, and let the tasks go on that it is for.
function loop.turn(until_ms)
    local wanted, whose = {}, {}
    for thread, task in pairs(tasks) do
        until_ms = math.min(until_ms, task.deadline_ms, task.wake_ms)
        for number, one in ipairs(task.wanted) do
            wanted[#wanted + 1] = one
            whose[#whose + 1] = { thread, number }
        end
    end
    local wait_ms = math.max(0, math.min(until_ms - posix.ticks(), 3600000))
    local able, answers = posix.poll_all(wanted, math.ceil(wait_ms)), {}
    for number, owner in ipairs(whose) do
        if able[number] then
            answers[owner[1]] = answers[owner[1]] or {}
            answers[owner[1]][owner[2]] = true
        end
    end
    local now_ms, over = posix.ticks(), {}
    for thread, task in pairs(tasks) do
        if now_ms >= task.wake_ms then
            answers[thread] = {}
        end
        if now_ms >= task.deadline_ms then
            -- What came in time may have been seen late.
            if task.late or not answers[thread] then
                over[#over + 1] = thread
                answers[thread] = nil
            end
            task.late = true
        end
    end
    for thread, found in pairs(answers) do
        -- One that another of these ended is not there any more.
        if tasks[thread] then
            step(thread, found)
        end
    end
    for _, thread in ipairs(over) do
        if tasks[thread] then
            step(thread, nil)
        end
    end
end

return loop
