-- Lines on their way: kept within a bound, and given out in batches as PutLogEvents takes them. Pure.
-- Source: CloudWatch Logs API reference, PutLogEvents.
local batches = {}

local MOST_EVENTS, BATCH_BYTES, EVENT_BYTES, OVERHEAD_BYTES = 10000, 1048576, 262144, 26
local DAY_MS = 24 * 3600 * 1000
local KEPT_BYTES = 4 * 1048576
-- What a line takes here beside its text, about.
local LINE_BYTES = 80
local CUT = " … (cut)"

-- Text as JSON's strings have it: what is not UTF-8 becomes U+FFFD.
local SEQUENCES = {
    "^[\194-\223][\128-\191]",
    "^\224[\160-\191][\128-\191]",
    "^[\225-\236\238\239][\128-\191][\128-\191]",
    "^\237[\128-\159][\128-\191]",
    "^\240[\144-\191][\128-\191][\128-\191]",
    "^[\241-\243][\128-\191][\128-\191][\128-\191]",
    "^\244[\128-\143][\128-\191][\128-\191]",
}

function batches.utf8(text)
    if not text:find("[\128-\255]") then
        return text
    end
    local parts, at = {}, 1
    while at <= #text do
        local _, plain = text:find("^[%z\1-\127]+", at)
        for _, sequence in ipairs(plain and {} or SEQUENCES) do
            local _, last = text:find(sequence, at)
            plain = plain or last
        end
        parts[#parts + 1] = plain and text:sub(at, plain) or "\239\191\189"
        at = (plain or at) + 1
    end
    return table.concat(parts)
end

function batches.json(text)
    return '"' .. text:gsub('[%c"\\]', function(one)
        return ("\\u%04x"):format(one:byte())
    end) .. '"'
end

-- Text within what one event may hold. An event has at least one character.
function batches.fitting(text)
    text = batches.utf8(text)
    local room = EVENT_BYTES - OVERHEAD_BYTES
    if #text > room then
        local last = room - #CUT
        while text:byte(last + 1) >= 128 and text:byte(last + 1) < 192 do
            last = last - 1
        end
        text = text:sub(1, last) .. CUT
    end
    return text == "" and " " or text
end

-- All lines that wait, by stream. `order` are the names of streams that have lines.
function batches.new()
    return { streams = {}, order = {}, bytes = 0 }
end

local function drop_oldest(waiting)
    local oldest
    for _, name in ipairs(waiting.order) do
        local stream = waiting.streams[name]
        local event = stream[stream.first]
        if event and (not oldest or event.time < oldest[oldest.first].time) then
            oldest = stream
        end
    end
    waiting.bytes = waiting.bytes - #oldest[oldest.first].text - LINE_BYTES
    oldest[oldest.first] = nil
    oldest.first = oldest.first + 1
    oldest.dropped = oldest.dropped + 1
end

function batches.add(waiting, name, time, text)
    local stream = waiting.streams[name]
    if not stream then
        stream = { first = 1, last = 0, dropped = 0, latest = 0 }
        waiting.streams[name] = stream
        waiting.order[#waiting.order + 1] = name
    end
    text = text:sub(1, EVENT_BYTES)
    stream.last = stream.last + 1
    stream[stream.last] = { time = time, text = text }
    waiting.bytes = waiting.bytes + #text + LINE_BYTES
    while waiting.bytes > KEPT_BYTES do
        drop_oldest(waiting)
    end
end

-- The next batch of this stream, by time, and its size; nothing when it has no lines. They wait no more.
local function take(waiting, stream, room)
    local batch, bytes = {}, 0
    if stream.dropped > 0 then
        local following = stream[stream.first]
        local text = ("(%d lines before this were dropped: they could not be sent in time)"):format(stream.dropped)
        batch[1] = { time = following and following.time or stream.latest, text = text }
        bytes = #text + OVERHEAD_BYTES
        stream.dropped = 0
    end
    while stream.first <= stream.last and #batch < MOST_EVENTS do
        local event = stream[stream.first]
        local text = batches.fitting(event.text)
        bytes = bytes + #text + OVERHEAD_BYTES
        -- The clock may have been set back.
        if #batch > 0 then
            event.time = math.max(event.time, batch[#batch].time)
        end
        if bytes > room or #batch > 0 and event.time - batch[1].time > DAY_MS then
            break
        end
        batch[#batch + 1] = { time = event.time, text = text }
        waiting.bytes = waiting.bytes - #event.text - LINE_BYTES
        stream[stream.first] = nil
        stream.first = stream.first + 1
        stream.latest = event.time
    end
    return batch, bytes
end

-- Batches of several streams as { {place=, body=}, ... }, together as large as one may be; `body` is that of
-- PutLogEvents, `place` the part that names the stream. Streams take turns.
function batches.next(waiting, group, prefix)
    local found, room = {}, BATCH_BYTES
    for _ = 1, #waiting.order do
        if room <= 0 then
            break
        end
        local name = table.remove(waiting.order, 1)
        waiting.order[#waiting.order + 1] = name
        local batch, bytes = take(waiting, waiting.streams[name], room)
        room = room - bytes
        if #batch > 0 then
            local events = {}
            for number, event in ipairs(batch) do
                events[number] = ('{"timestamp":%.0f,"message":%s}'):format(event.time, batches.json(event.text))
            end
            local place = ('"logGroupName":%s,"logStreamName":%s'):format(
                batches.json(group), batches.json(prefix .. name:gsub("[:*]", "_"))
            )
            local body = ('{%s,"logEvents":[%s]}'):format(place, table.concat(events, ","))
            found[#found + 1] = { place = place, body = body }
        end
    end
    return found
end

return batches
