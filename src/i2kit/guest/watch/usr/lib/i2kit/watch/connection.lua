-- A connection of a probe within its task, plain or by TLS with whoever answers.
local loop, posix = require("loop"), require("posix")
local connection = {}

local LOOKUP_SECONDS = 30

-- Names are looked up by a process of their own: that may take long.
local function looked_up(host)
    local fd, pid = posix.spawn(LOOKUP_SECONDS, function()
        local number, why = posix.number_of(host)
        return number and "=" .. number or why
    end)
    if not fd then
        error("no process to look up " .. host, 0)
    end
    loop.mine(fd)
    local done, said = pcall(function()
        local parts = ""
        while true do
            local part = loop.read(fd)
            if part == "" then
                return parts
            end
            parts = parts .. part
        end
    end)
    if not done then
        posix.kill(pid, posix.KILL)
    end
    posix.reap(pid)
    loop.close(fd)
    if not done then
        error(said, 0)
    elseif said:sub(1, 1) ~= "=" then
        error(("%s: %s"):format(host, said), 0)
    end
    return said:sub(2)
end

-- Connect to a port of a host, a number or a name. Raises an error that says why not.
function connection.open(host, port)
    local address = posix.address(host, port, true) or assert(posix.address(looked_up(host), port, true))
    local fd, why = posix.begin_connect(address)
    if not fd then
        error(why, 0)
    end
    loop.mine(fd)
    loop.wait({ fd, posix.WRITABLE })
    why = posix.connect_error(fd)
    if why then
        error(why, 0)
    end
    local opened = {}
    function opened.read() return loop.read(fd) end
    function opened.write(text) loop.write(fd, text) end
    function opened.close() loop.close(fd) end
    return opened, fd
end

-- The same by TLS.
function connection.open_tls(host, port)
    local bearssl, ffi = require("bearssl"), require("ffi")
    local below, fd = connection.open(host, port)
    local tls = bearssl.open(host, below.write, function(memory, length)
        local text = loop.read(fd, tonumber(length))
        ffi.copy(memory, text, #text)
        return #text
    end)
    local opened = { close = below.close }
    function opened.read() return bearssl.read(tls) or "" end
    function opened.write(text) bearssl.write(tls, text) end
    return opened
end

return connection
