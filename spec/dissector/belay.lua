-- Wireshark dissector for Belay, protocol version 1.
--
--   wireshark -X lua_script:spec/dissector/belay.lua capture.pcap
--
-- Or copy belay.lua and registry.lua into the folder of personal Lua plugins.
-- It takes TCP port PROTO_PORT, TLS with the ALPN id of Belay (when Wireshark
-- has the keys), and any TCP connection that starts with the magic.
--
-- All numbers come from registry.lua, which gen.py writes. Field names are
-- belay.MESSAGE.FIELD as in spec/layout.tsv, in lower case; TLV values are
-- belay.tlv.NAME.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
local R = dofile(here .. "registry.lua")
local bit = bit or bit32 or require("bit")

local belay = Proto("belay", "Belay")

-- ---- Fields, one for each row of layout.tsv.

local f = {}

local names_of = {
    ["HEADER.type"] = R.frames,
    ["PREFACE.role"] = R.roles,
    ["INFO.file_type"] = R.file_types,
    ["ENTRY.file_type"] = R.file_types,
    ["CHUNK.codec"] = R.codecs,
    ["AUTH.method"] = R.auth_methods,
    ["ERROR.code"] = R.codes,
    ["GOAWAY.code"] = R.codes,
}

local hexadecimal = { type = true, flags = true, info_flags = true,
                      crc = true, code = true }

local function new_field(abbrev, label, kind, names, shown)
    if kind == "u8" then
        return ProtoField.uint8(abbrev, label, shown, names)
    elseif kind == "u16" then
        return ProtoField.uint16(abbrev, label, shown, names)
    elseif kind == "u32" then
        return ProtoField.uint32(abbrev, label, shown, names)
    elseif kind == "u64" then
        return ProtoField.uint64(abbrev, label, shown)
    elseif kind == "i64" then
        return ProtoField.int64(abbrev, label, shown)
    elseif kind == "text" then
        return ProtoField.string(abbrev, label)
    end
    return ProtoField.bytes(abbrev, label)
end

for message, layout in pairs(R.layouts) do
    for _, item in ipairs(layout) do
        local key = message .. "." .. item.name
        local shown = hexadecimal[item.name] and base.HEX or base.DEC
        f[key] = new_field("belay." .. key:lower(), item.name, item.type,
                           names_of[key], shown)
    end
end

-- Flags: one boolean below the number for each named bit.
local flag_bits = {}

local function add_flag(key, mask, name)
    local bits = key == "INFO.info_flags" and 16 or 8
    local field = ProtoField.bool("belay." .. key:lower() .. "." ..
                                  name:lower(), name, bits, nil, mask)
    f[key .. "." .. name] = field
    flag_bits[key] = flag_bits[key] or {}
    table.insert(flag_bits[key], field)
end

for key, flags in pairs(R.flags) do
    for _, flag in ipairs(flags) do
        add_flag(key, flag[1], flag[2])
    end
end
for mask, name in pairs(R.frame_flags) do
    add_flag("HEADER.flags", mask, name)
end

-- TLV values by type, and what stands behind the fixed fields.
for kind, tlv in pairs(R.tlvs) do
    f["tlv." .. kind] = new_field("belay.tlv." .. tlv.name:lower(), tlv.name,
                                  tlv.type, nil, base.DEC)
end
f["tlv.value"] = ProtoField.bytes("belay.tlv.value", "value")
f["OPEN.path"] = ProtoField.string("belay.open.path", "path")
f["LIST.path"] = ProtoField.string("belay.list.path", "path")
f["ENTRY.name"] = ProtoField.string("belay.entry.name", "name")
f["NOTICE.text"] = ProtoField.string("belay.notice.text", "text")
f["CHUNK.data"] = ProtoField.bytes("belay.chunk.data", "data")
f["DIGESTS.digest"] = ProtoField.bytes("belay.digests.digest", "digest")
f["DIGESTS.proof"] = ProtoField.bytes("belay.digests.proof", "proof")
f["payload"] = ProtoField.bytes("belay.payload", "payload")

belay.fields = f

local bad_crc = ProtoExpert.new("belay.bad_crc", "CRC mismatch",
                                expert.group.CHECKSUM, expert.severity.ERROR)
local malformed = ProtoExpert.new("belay.malformed", "Malformed",
                                  expert.group.MALFORMED,
                                  expert.severity.ERROR)
local unknown = ProtoExpert.new("belay.unknown", "Unknown",
                                expert.group.UNDECODED,
                                expert.severity.NOTE)
belay.experts = { bad_crc, malformed, unknown }

-- ---- CRC-32 (section 5).

local crc_table = {}
for i = 0, 255 do
    local c = i
    for _ = 1, 8 do
        if c % 2 == 1 then
            c = bit.bxor(bit.rshift(c, 1), 0xEDB88320)
        else
            c = bit.rshift(c, 1)
        end
    end
    crc_table[i] = c
end

local function crc32(text)
    local c = 0xFFFFFFFF
    for i = 1, #text do
        local index = bit.band(bit.bxor(c, text:byte(i)), 0xFF)
        c = bit.bxor(bit.rshift(c, 8), crc_table[index])
    end
    return bit.bxor(c, 0xFFFFFFFF) % 4294967296
end

-- ---- A cursor over a range of bytes; running out raises `short`.

local short = {}

local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, from, to)
    return setmetatable({ tvb = tvb, at = from, to = to }, Cursor)
end

function Cursor:left()
    return self.to - self.at
end

function Cursor:take(len)
    if len > self:left() then
        error(short)
    end
    local at = self.at
    self.at = at + len
    return self.tvb(at, len)
end

-- An empty range cannot be made; nothing is shown for an empty part.
function Cursor:show(tree, field, len)
    if len > 0 then
        return tree:add(field, self:take(len))
    end
    return nil
end

-- ---- Parts of messages.

local function fixed(c, tree, message)
    local values = {}
    local layout = R.layouts[message]
    if layout == nil then
        return values
    end
    for _, item in ipairs(layout) do
        local key = message .. "." .. item.name
        local range = c:take(item.width)
        local row = tree:add(f[key], range)
        for _, flag in ipairs(flag_bits[key] or {}) do
            row:add(flag, range)
        end
        if item.width <= 4 and item.type:match("^u") then
            values[item.name] = range:uint()
        end
    end
    return values
end

local width_of = { u8 = 1, u16 = 2, u32 = 4, u64 = 8 }

local function tlv(c, tree)
    local head = c.tvb(c.at, math.min(c:left(), 4))
    local row = tree:add(head, "TLV")
    local values = fixed(c, row, "TLV")
    local known = R.tlvs[values.type]
    local field = f["tlv.value"]
    if known then
        local width = width_of[known.type]
        row:set_text("TLV: " .. known.name)
        if width == nil or width == values.length then
            field = f["tlv." .. values.type]
        end
    else
        row:set_text(string.format("TLV: unknown 0x%04X", values.type))
    end
    if values.length > 0 then
        row:set_len(4 + math.min(values.length, c:left()))
        c:show(row, field, values.length)
    end
end

local function tlvs(c, tree)
    while c:left() > 0 do
        tlv(c, tree)
    end
end

local function entry(c, tree)
    local length = c.tvb(c.at, math.min(2, c:left())):uint()
    local row = tree:add(c.tvb(c.at, math.min(2 + length, c:left())), "Entry")
    local inner = cursor(c.tvb, c.at, c.at)
    c:take(2 + length)
    inner.to = c.at
    local values = fixed(inner, row, "ENTRY")
    inner:show(row, f["ENTRY.name"], values.name_len)
    tlvs(inner, row)
end

local function path(message)
    return function(c, tree, values)
        c:show(tree, f[message .. ".path"], values.path_len)
    end
end

-- What stands between the fixed fields and the TLVs.
local variable = {
    OPEN = path("OPEN"),
    LIST = path("LIST"),
    GET = function(c, tree, values)
        for _ = 1, values.count do
            local at = c.tvb(c.at, math.min(16, c:left()))
            fixed(c, tree:add(at, "Range"), "RANGE")
        end
    end,
    CHUNK = function(c, tree)
        c:show(tree, f["CHUNK.data"], c:left())
    end,
    DIGESTS = function(c, tree, values)
        for _ = 1, values.count do
            c:show(tree, f["DIGESTS.digest"], R.DIGEST_LEN)
        end
        for _ = 1, values.proof_len do
            c:show(tree, f["DIGESTS.proof"], R.DIGEST_LEN)
        end
    end,
    ENTRIES = function(c, tree, values)
        for _ = 1, values.count do
            entry(c, tree)
        end
    end,
    NOTICE = function(c, tree)
        c:show(tree, f["NOTICE.text"], c:left())
    end,
}

local without_tlvs = { PING = true, PONG = true, CHUNK = true, NOTICE = true }

local function message(c, tree, name)
    local values = fixed(c, tree, name)
    if variable[name] then
        variable[name](c, tree, values)
    end
    if without_tlvs[name] then
        if c:left() > 0 then
            error(short)
        end
    else
        tlvs(c, tree)
    end
end

-- ---- Preface and frames.

local preface_len = R.layouts.PREFACE.length
local header_len = R.layouts.HEADER.length
local chunk_len = R.layouts.CHUNK.length

-- The magic read as a length is beyond every limit, so that a preface and a
-- frame cannot be taken for each other.
local function starts_with_magic(tvb, offset)
    local len = #R.PREFACE_MAGIC / 2
    return tvb:len() - offset >= len and
        tvb(offset, len):bytes():tohex():lower() == R.PREFACE_MAGIC
end

local function check_crc(tree, range, covered)
    if range:uint() ~= crc32(covered) then
        tree:add_tvb_expert_info(bad_crc, range)
    end
end

local function preface(tvb, tree, info)
    fixed(cursor(tvb, 0, preface_len), tree, "PREFACE")
    check_crc(tree, tvb(12, 4), tvb(0, 12):raw())
    info.cols.info:append("preface ")
    tree:append_text(", preface")
end

local function frame(tvb, tree, info)
    local head = tree:add(tvb(0, header_len), "Header")
    local values = fixed(cursor(tvb, 0, header_len), head, "HEADER")
    local name = R.frames[values.type]
    if values.length > R.LIMIT_CHUNK_PAYLOAD then
        tree:add_proto_expert_info(malformed, "the length is beyond every "
                                   .. "limit: the stream is out of step")
        return
    end
    local covered = values.length
    if name == "CHUNK" then
        covered = math.min(covered, chunk_len)
    end
    local text = tvb(0, 12):raw()
    if covered > 0 then
        text = text .. tvb(header_len, covered):raw()
    end
    check_crc(head, tvb(12, 4), text)

    local label = name or string.format("type 0x%02X", values.type)
    if values.request_id ~= 0 then
        label = label .. " #" .. values.request_id
    end
    info.cols.info:append(label .. " ")
    tree:append_text(", " .. label)
    if name == nil then
        if values.length > 0 then
            tree:add(f.payload, tvb(header_len, values.length))
        end
        tree:add_proto_expert_info(unknown, "a type this version skips, "
                                   .. "or refuses below 0x80")
        return
    end
    local c = cursor(tvb, header_len, header_len + values.length)
    local ok, fault = pcall(message, c, tree, name)
    if not ok then
        if fault ~= short then
            error(fault, 0)
        end
        tree:add_proto_expert_info(malformed, "the payload does not hold "
                                   .. "what its fields say")
    end
end

local function one_pdu(tvb, info, root)
    local tree = root:add(belay, tvb())
    if starts_with_magic(tvb, 0) then
        preface(tvb, tree, info)
    else
        frame(tvb, tree, info)
    end
    return tvb:len()
end

local function pdu_len(tvb, info, offset)
    if starts_with_magic(tvb, offset) then
        return preface_len
    end
    local length = tvb(offset, 4):uint()
    if length > R.LIMIT_CHUNK_PAYLOAD then
        -- Not worth waiting for: the rest of this segment is shown as wrong.
        return tvb:len() - offset
    end
    return header_len + length
end

function belay.dissector(tvb, info, root)
    info.cols.protocol = "Belay"
    info.cols.info:clear()
    dissect_tcp_pdus(tvb, root, header_len, pdu_len, one_pdu)
    return tvb:len()
end

belay:register_heuristic("tcp", function(tvb, info, root)
    if not starts_with_magic(tvb, 0) then
        return false
    end
    info.conversation = belay
    belay.dissector(tvb, info, root)
    return true
end)

DissectorTable.get("tcp.port"):add(R.PROTO_PORT, belay)
-- Wireshark builds without TLS have no such table.
pcall(function()
    DissectorTable.get("tls.alpn"):add(R.PROTO_ALPN, belay)
end)
