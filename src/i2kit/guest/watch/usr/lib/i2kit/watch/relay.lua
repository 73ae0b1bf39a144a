-- Lines between the supervisor and the host. A host that does not read holds nobody up: lines wait for it, the
-- newest 64 KiB of them.
local loop, posix = require("loop"), require("posix")
local relay = { waiting = "" }

local KEPT_BYTES, LINE_BYTES = 65536, 4096
local QUIET_MS = 1000

local host -- the port's file descriptor

-- Write what waits, as far as the host takes it.
local function flush()
    if host and relay.waiting ~= "" then
        relay.waiting = relay.waiting:sub((posix.try_write(host, relay.waiting) or 0) + 1)
    end
end

-- Tell the host a line.
function relay.tell(line)
    relay.waiting = relay.waiting .. line .. "\n"
    flush()
    if #relay.waiting > KEPT_BYTES then
        relay.waiting = relay.waiting:sub(-KEPT_BYTES):gsub("^[^\n]*\n", "")
    end
end

-- Talk with the host through this port; each line that it says goes to `handle`. Without a reader on its side the port
-- is at its end at once.
function relay.open(port, handle)
    posix.set_nonblocking(port)
    host = port
    loop.start(function()
        local text = ""
        while true do
            loop.wait({ port, posix.READABLE })
            local said = posix.read_some(port, LINE_BYTES)
            if not said or said == "" then
                loop.sleep(QUIET_MS)
            else
                text = (text .. said):sub(-LINE_BYTES)
                for line in text:gmatch("([^\n]*)\n") do
                    handle(line)
                end
                text = text:match("[^\n]*$")
            end
        end
    end, math.huge, function(_, why) error(why, 0) end)
end

-- Try again to tell what waits. Whether nothing does any more.
function relay.flush()
    flush()
    return relay.waiting == ""
end

return relay
