-- grpc.health.v1.Health/Check over HTTP/2 without TLS.
-- Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK), gRPC over HTTP2, GRPC Health Checking Protocol; Kubernetes,
-- pkg/probe/grpc/grpc.go.
local bit = require("bit")
local grpc = {}

local DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
local END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
local FRAME_BYTES, BLOCK_BYTES, MESSAGE_BYTES, MOST_FRAMES = 16384, 32768, 4096, 1000
local STREAM = 1
local SERVING = 1
local SERVICE_STATES = { [0] = "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" }
local UNIMPLEMENTED = "12"

-- The codes of HPACK's Huffman table are canonical: their lengths, each a letter from A for 1, say all of them.
local LENGTHS = [==[MW\\\\\\\X^\\^\\\\\\\\^\\\\\\\\\FJJLMFHKJJHKHFFFEEEFFFFFFFGHOFLJMFGGGGGGGGGGGGGGGGGGGG]==]
    .. [==[GGHGHMSMNFOEFEFEFFFEGGFFFEFGFEEFGGGGGOKNM\TVTTVVVWVWWWWWXWXXVWXWWWWUVWVWWXVUTVVWWUWVVX]==]
    .. [==[UVWWUUVUWVWWTVVVWVVWZZTSVWVYZZZ[[ZXYSUZ[[Z[XUUZZ\[[[TXTUVUUWVVYYXXZWZ[ZZ[[[[[\[[[[[Z^]==]
-- The entries of its static table that matter here, and how many there are.
local STATIC = {
    [8] = { ":status", "200" }, [9] = { ":status", "204" }, [10] = { ":status", "206" }, [11] = { ":status", "304" },
    [12] = { ":status", "400" }, [13] = { ":status", "404" }, [14] = { ":status", "500" },
}
local STATIC_COUNT, TABLE_BYTES, ENTRY_BYTES = 61, 4096, 32

local codes -- by length: { first code, symbols by code - first }

local function huffman_codes()
    if codes then
        return codes
    end
    codes = {}
    local code = 0
    for length = 1, 30 do
        local symbols = { first = code }
        for symbol = 0, #LENGTHS - 1 do
            if LENGTHS:byte(symbol + 1) - 64 == length then
                symbols[code - symbols.first] = symbol
                code = code + 1
            end
        end
        codes[length] = symbols
        code = code * 2
    end
    return codes
end

-- Huffman-coded text (RFC 7541, 5.2).
function grpc.huffman(text)
    local table_, parts, code, length = huffman_codes(), {}, 0, 0
    for at = 1, #text do
        local byte = text:byte(at)
        for place = 7, 0, -1 do
            code, length = code * 2 + bit.band(bit.rshift(byte, place), 1), length + 1
            local symbols = table_[length]
            local symbol = symbols and symbols[code - symbols.first]
            if symbol and symbol < 256 then
                parts[#parts + 1] = string.char(symbol)
                code, length = 0, 0
            elseif length >= 30 then
                error("the answer's headers are no HPACK", 0)
            end
        end
    end
    return table.concat(parts)
end

-- The headers of a block, by name. `entries` is the dynamic table, newest first, which it may change.
function grpc.headers(block, entries)
    local at, found = 1, {}
    local function byte()
        local one = block:byte(at)
        if not one then
            error("the answer's headers are no HPACK", 0)
        end
        at = at + 1
        return one
    end
    local function integer(first, bits)
        local most = bit.lshift(1, bits) - 1
        local number, shift = bit.band(first, most), 0
        if number < most then
            return number
        end
        repeat
            local one = byte()
            number = number + bit.lshift(bit.band(one, 127), shift)
            shift = shift + 7
            if shift > 21 then
                error("the answer's headers are no HPACK", 0)
            end
        until one < 128
        return number
    end
    local function text()
        local first = byte()
        local length = integer(first, 7)
        local part = block:sub(at, at + length - 1)
        if #part < length then
            error("the answer's headers are no HPACK", 0)
        end
        at = at + length
        return first >= 128 and grpc.huffman(part) or part
    end
    local function entry(index)
        if index == 0 or index > STATIC_COUNT + #entries then
            error("the answer's headers are no HPACK", 0)
        end
        return index <= STATIC_COUNT and (STATIC[index] or { "", "" }) or entries[index - STATIC_COUNT]
    end
    while at <= #block do
        local first = byte()
        if first >= 128 then
            local one = entry(integer(first, 7))
            found[one[1]] = one[2]
        elseif first >= 64 or first < 32 then
            local index = integer(first, first >= 64 and 6 or 4)
            local name = index > 0 and entry(index)[1] or text()
            local value = text()
            found[name] = value
            if first >= 64 then
                table.insert(entries, 1, { name, value })
                entries.bytes = (entries.bytes or 0) + #name + #value + ENTRY_BYTES
                while entries.bytes > TABLE_BYTES do
                    local last = table.remove(entries)
                    entries.bytes = entries.bytes - #last[1] - #last[2] - ENTRY_BYTES
                end
            end
        else
            integer(first, 5) -- the table's size, of which it makes nothing larger
        end
    end
    return found
end

function grpc.frame(kind, flags, stream, payload)
    local length = #payload
    return string.char(
        bit.rshift(length, 16), bit.band(bit.rshift(length, 8), 255), bit.band(length, 255), kind, flags,
        0, 0, 0, stream
    ) .. payload
end

-- A header that no table keeps, a text of less than 127 bytes at most in its name.
local function header(name, value)
    local function text(one)
        if #one < 127 then
            return string.char(#one) .. one
        end
        local rest, parts = #one - 127, { "\127" }
        while rest >= 128 do
            parts[#parts + 1] = string.char(bit.bor(bit.band(rest, 127), 128))
            rest = bit.rshift(rest, 7)
        end
        return table.concat(parts) .. string.char(rest) .. one
    end
    return "\0" .. text(name) .. text(value)
end

local function varint(number)
    local parts = {}
    while number >= 128 do
        parts[#parts + 1] = string.char(bit.bor(bit.band(number, 127), 128))
        number = bit.rshift(number, 7)
    end
    return table.concat(parts) .. string.char(number)
end

-- All that is said to the server: the request for the state of a service, and that nothing follows.
function grpc.request(service, authority)
    local message = service == "" and "" or "\10" .. varint(#service) .. service
    local length = #message
    local block = header(":method", "POST") .. header(":scheme", "http")
        .. header(":path", "/grpc.health.v1.Health/Check") .. header(":authority", authority)
        .. header("content-type", "application/grpc") .. header("te", "trailers") .. header("user-agent", "i2kit-probe")
    return PREFACE .. grpc.frame(SETTINGS, 0, 0, "") .. grpc.frame(HEADERS, END_HEADERS, STREAM, block)
        .. grpc.frame(DATA, END_STREAM, STREAM, "\0" .. string.char(
            0, bit.rshift(length, 16), bit.band(bit.rshift(length, 8), 255), bit.band(length, 255)
        ) .. message)
end

-- The field `status` of a HealthCheckResponse: 0 where it is not said. Raises an error where it is none.
function grpc.status(message)
    local at, status = 1, 0
    local function number()
        local found, shift = 0, 0
        while true do
            local one = message:byte(at)
            if not one or shift > 28 then
                error("the answer is no HealthCheckResponse", 0)
            end
            at = at + 1
            found = found + bit.lshift(bit.band(one, 127), shift)
            shift = shift + 7
            if one < 128 then
                return found
            end
        end
    end
    while at <= #message do
        local key = number()
        if key == 8 then
            status = number()
        elseif bit.band(key, 7) == 0 then
            number()
        elseif bit.band(key, 7) == 2 then
            local length = number()
            at = at + length
        else
            error("the answer is no HealthCheckResponse", 0)
        end
    end
    return status
end

-- A payload without its padding and, of headers, its priority.
local function unpadded(flags, payload, priority)
    local from, to = 1, #payload
    if bit.band(flags, PADDED) ~= 0 then
        to = to - (payload:byte(1) or 0)
        from = 2
    end
    return payload:sub(from + (priority and 5 or 0), to)
end

-- The frames of a stream, one with each call: kind, flags, stream, payload.
local function frames(read)
    local text, count = "", 0
    local function need(bytes)
        while #text < bytes do
            local more = read()
            if more == "" then
                error(count == 0 and "the connection was closed without an answer" or "the answer is cut off", 0)
            end
            text = text .. more
        end
    end
    return function()
        need(9)
        local a, b, c, kind, flags, d, e, f, g = text:byte(1, 9)
        local length = a * 65536 + b * 256 + c
        if count == 0 and kind ~= SETTINGS or length > FRAME_BYTES then
            error("the answer is not HTTP/2", 0)
        end
        count = count + 1
        if count > MOST_FRAMES then
            error("the answer has frames without end", 0)
        end
        need(9 + length)
        local payload = text:sub(10, 9 + length)
        text = text:sub(10 + length)
        return kind, flags, ((bit.band(d, 127) * 256 + e) * 256 + f) * 256 + g, payload
    end
end

-- What the answer was: the headers, those after the messages too, and the messages' bytes.
local function answer(connection)
    local next_frame, entries, headers, parts, size, block = frames(connection.read), {}, {}, {}, 0, nil
    local last = false
    while true do
        local kind, flags, stream, payload = next_frame()
        if kind == SETTINGS and bit.band(flags, ACK) == 0 then
            connection.write(grpc.frame(SETTINGS, ACK, 0, ""))
        elseif kind == PING and bit.band(flags, ACK) == 0 then
            connection.write(grpc.frame(PING, ACK, 0, payload))
        elseif kind == GOAWAY then
            -- What was asked before is answered, if it is not among the refused.
            local _, _, _, refused_from = payload:byte(1, 4)
            if not refused_from or refused_from < STREAM then
                error("the server goes away", 0)
            end
        elseif stream == STREAM and kind == RESET then
            error("the server broke the call off", 0)
        elseif stream == STREAM and kind == DATA then
            local part = unpadded(flags, payload)
            size = size + #part
            if size > MESSAGE_BYTES then
                error("the answer is no HealthCheckResponse", 0)
            end
            parts[#parts + 1] = part
            last = bit.band(flags, END_STREAM) ~= 0
        elseif stream == STREAM and (kind == HEADERS or kind == CONTINUATION and block) then
            if kind == HEADERS then
                last = bit.band(flags, END_STREAM) ~= 0
                payload = unpadded(flags, payload, bit.band(flags, PRIORITY) ~= 0)
            end
            block = (block or "") .. payload
            if #block > BLOCK_BYTES then
                error("the answer has headers without end", 0)
            end
            if bit.band(flags, END_HEADERS) ~= 0 then
                for name, value in pairs(grpc.headers(block, entries)) do
                    headers[name] = value
                end
                block = nil
            end
        end
        if last and not block then
            return headers, table.concat(parts)
        end
    end
end

-- Ask over an open connection. Whether the service is well, and what was answered. Raises an error where nothing
-- could be.
function grpc.ask(probe, authority, connection)
    connection.write(grpc.request(probe.service or "", authority))
    local headers, text = answer(connection)
    local status = headers["grpc-status"]
    if status == UNIMPLEMENTED then
        return false, "gRPC: the server has no grpc.health.v1.Health"
    elseif status and status ~= "0" then
        local message = (headers["grpc-message"] or ""):gsub("%%(%x%x)", function(digits)
            return string.char(tonumber(digits, 16))
        end)
        return false, ("gRPC status %s: %s"):format(status, message)
    elseif headers[":status"] ~= "200" or #text < 5 then
        return false, "gRPC: HTTP " .. (headers[":status"] or "without a status")
    end
    local found = grpc.status(text:sub(6))
    return found == SERVING, "gRPC: " .. (SERVICE_STATES[found] or "state " .. found)
end

return grpc
