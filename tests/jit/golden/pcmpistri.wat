;; a module of 724 bytes for 13 bytes of code
;;   pcmpistri xmm1,xmm2,0
;;   pcmpistri xmm1,xmm2,1Ah
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 v128 v128 v128)
    block ;; label = @1
      block ;; label = @2
        local.get 0
        i32.load offset=296 align=1
        local.tee 4
        i32.const 3
        i32.lt_s
        if ;; label = @3
          local.get 2
          return
        end
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 4
        i32.const 3
        i32.sub
        local.set 4
        local.get 0
        v128.load offset=768 align=1
        local.set 21
        local.get 21
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        i8x16.eq
        i8x16.bitmask
        i64.extend_i32_u
        local.tee 14
        i64.const 1
        i64.sub
        local.get 14
        i64.const -1
        i64.xor
        i64.and
        local.set 15
        local.get 0
        v128.load offset=800 align=1
        local.set 22
        local.get 22
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        i8x16.eq
        i8x16.bitmask
        i64.extend_i32_u
        local.tee 18
        i64.const 1
        i64.sub
        local.get 18
        i64.const -1
        i64.xor
        i64.and
        local.set 16
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        local.set 23
        i32.const 0
        local.set 5
        loop ;; label = @3
          local.get 22
          local.get 21
          local.get 5
          i8x16.splat
          i8x16.swizzle
          i8x16.eq
          local.get 23
          v128.or
          local.set 23
          local.get 5
          i32.const 1
          i32.add
          local.tee 5
          local.get 15
          i64.const 65535
          i64.and
          i64.popcnt
          i32.wrap_i64
          i32.lt_u
          br_if 0 (;@3;)
        end
        local.get 23
        i8x16.bitmask
        i64.extend_i32_u
        local.get 16
        i64.and
        i32.wrap_i64
        i32.const 65535
        i32.and
        local.set 5
        local.get 5
        i32.const 65536
        i32.or
        i32.ctz
        i64.extend_i32_u
        local.set 20
        local.get 5
        i32.const 0
        i32.ne
        local.get 5
        i32.const 1
        i32.and
        i32.const 11
        i32.shl
        i32.or
        local.get 18
        i64.eqz
        i32.eqz
        i32.const 6
        i32.shl
        i32.or
        local.get 14
        i64.eqz
        i32.eqz
        i32.const 7
        i32.shl
        i32.or
        i64.extend_i32_u
        local.set 17
        local.get 21
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        i8x16.eq
        i8x16.bitmask
        i64.extend_i32_u
        local.tee 14
        i64.const 1
        i64.sub
        local.get 14
        i64.const -1
        i64.xor
        i64.and
        local.set 15
        local.get 22
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        i8x16.eq
        i8x16.bitmask
        i64.extend_i32_u
        local.tee 18
        i64.const 1
        i64.sub
        local.get 18
        i64.const -1
        i64.xor
        i64.and
        local.set 16
        local.get 21
        local.get 22
        i8x16.eq
        i8x16.bitmask
        i64.extend_i32_u
        local.get 15
        i64.and
        local.get 16
        i64.and
        local.get 15
        local.get 16
        i64.or
        i64.const -1
        i64.xor
        i64.or
        i64.const -1
        i64.xor
        i32.wrap_i64
        i32.const 65535
        i32.and
        local.set 5
        local.get 5
        i32.const 65536
        i32.or
        i32.ctz
        i64.extend_i32_u
        local.set 20
        local.get 5
        i32.const 0
        i32.ne
        local.get 5
        i32.const 1
        i32.and
        i32.const 11
        i32.shl
        i32.or
        local.get 18
        i64.eqz
        i32.eqz
        i32.const 6
        i32.shl
        i32.or
        local.get 14
        i64.eqz
        i32.eqz
        i32.const 7
        i32.shl
        i32.or
        i64.extend_i32_u
        local.set 17
        local.get 0
        local.get 20
        i64.store offset=8 align=1
        local.get 0
        i64.const 0
        i64.store offset=256 align=1
        local.get 0
        local.get 17
        i64.store offset=264 align=1
        local.get 0
        i32.const 768
        i32.store16 offset=272 align=1
        local.get 0
        local.get 2
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 1
        local.set 6
        local.get 0
        i64.const 786655
        i64.const 1335734829069
        i32.const 4
        call_indirect (type 1)
        br_if 1 (;@1;)
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=128 align=1
        local.set 14
        br 0 (;@2;)
        unreachable
      end
      local.get 14
      i32.wrap_i64
      local.get 14
      i64.const 12
      i64.shr_u
      i32.wrap_i64
      i32.xor
      i32.const 65535
      i32.and
      i32.const 5
      i32.shl
      local.get 0
      i32.load offset=292 align=1
      i32.add
      local.tee 5
      i64.load align=1
      local.get 14
      i64.eq
      local.get 5
      i64.load offset=8 align=1
      local.get 0
      i64.load offset=280 align=1
      i64.eq
      i32.and
      if ;; label = @2
        local.get 0
        local.get 1
        local.get 14
        local.get 5
        i32.load offset=16 align=1
        return_call_indirect (type 0)
      end
      local.get 14
      return
    end
    local.get 0
    local.get 6
    i32.store offset=300 align=1
    local.get 0
    global.get 0
    i32.const 0
    i32.add
    i32.store offset=304 align=1
    local.get 0
    local.get 2
    i64.store offset=344 align=1
    local.get 0
    local.get 4
    i32.store offset=296 align=1
    i64.const -9223372036854775807
  )
