-- /etc/i2kit/pod, which says how the pod is to be asked, as values. Pure. i2kit's image/podfile.py writes it.
local podfile = {}

local NUMBERS = {
    port = true, initial_delay_s = true, period_s = true, timeout_s = true,
    success_threshold = true, failure_threshold = true, grace_s = true, seconds = true,
}

local function plain(text)
    return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- `NAME KIND HANDLER key=value …` as a table of that; `args` and `headers` are lists.
local function probe(line)
    local name, kind, handler, rest = line:match("^(%S+) (%S+) (%S+) ?(.*)$")
    local found = { name = name, kind = kind, handler = handler, args = {}, headers = {} }
    for key, value in rest:gmatch("([%w_]+)=(%S*)") do
        if key == "arg" then
            found.args[#found.args + 1] = plain(value)
        elseif key == "header" then
            local header, text = value:match("^([^:]*):(.*)$")
            found.headers[#found.headers + 1] = { plain(header), plain(text) }
        else
            found[key] = NUMBERS[key] and tonumber(value) or plain(value)
        end
    end
    return found
end

-- { grace_s=, health_port=, probes={...}, hooks={...} }; both as tables of what `probe` gives.
function podfile.parse(text)
    local found = { probes = {}, hooks = {} }
    for key, value in text:gmatch("([%w_]+)=([^\n]*)\n") do
        if key == "probe" then
            found.probes[#found.probes + 1] = probe(value)
        elseif key == "hook" then
            found.hooks[#found.hooks + 1] = probe(value)
        else
            found[key] = tonumber(value)
        end
    end
    return found
end

return podfile
