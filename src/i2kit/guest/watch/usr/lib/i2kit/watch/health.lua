-- Answers load balancers at the machine's own port: /ready is 200 while the pod is ready, else 503. Nothing else is
-- there. Whoever says too much or too little is forgotten; when too many talk at once, whoever talks for the longest.
local loop, posix = require("loop"), require("posix")
local health = { ready = false }

local MOST, SECONDS, REQUEST_BYTES = 64, 5, 4096

local tasks = {} -- of connections, the oldest first

local function answer_to(request)
    local method, path = request:match("^(%u+) ([^ ?]*)%S* HTTP/1%.%d\r?\n")
    if method ~= "GET" and method ~= "HEAD" then
        return "400 Bad Request", "bad request\n"
    elseif path ~= "/ready" then
        return "404 Not Found", "not found\n"
    elseif health.ready then
        return "200 OK", "ready\n", method == "HEAD"
    end
    return "503 Service Unavailable", "not ready\n", method == "HEAD"
end

-- The whole answer to what was said so far; nil where more has to come. Pure but for `health.ready`.
function health.answer(request)
    if not request:find("\r?\n\r?\n") then
        if #request <= REQUEST_BYTES then
            return nil
        end
        request = ""
    end
    local status, text, headless = answer_to(request)
    return ("HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(
        status, #text, headless and "" or text
    )
end

local function talk(fd)
    loop.mine(fd)
    local request = ""
    while true do
        local said = loop.read(fd, REQUEST_BYTES)
        if said == "" then
            return
        end
        request = request .. said
        local answer = health.answer(request)
        if answer then
            loop.write(fd, answer)
            return
        end
    end
end

local function accept_all(listener)
    while true do
        loop.wait({ listener, posix.READABLE })
        local fd = posix.accept(listener)
        if fd then
            if #tasks >= MOST then
                loop.cancel(table.remove(tasks, 1))
            end
            local thread
            thread = loop.start(function() talk(fd) end, posix.ticks() + SECONDS * 1000, function()
                for number, other in ipairs(tasks) do
                    if other == thread then
                        table.remove(tasks, number)
                        break
                    end
                end
                thread = nil
            end)
            if loop.alive(thread) then
                tasks[#tasks + 1] = thread
            end
        end
    end
end

-- Answer at this port from now on. Raises an error where that cannot be.
function health.serve(port)
    local listener = assert(posix.listen(assert(posix.address("0.0.0.0", port, true))))
    loop.start(function() accept_all(loop.mine(listener)) end, math.huge, function(_, why) error(why, 0) end)
end

return health
