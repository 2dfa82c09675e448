;; a module of 1222 bytes for 18 bytes of code
;;   vmulpd ymm0,ymm3,[rsi]
;;   vaddpd ymm0,ymm0,[rbx]
;;   vmovapd [rbx],ymm0
;;   dec rcx
;;   jne short 0
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128)
    block ;; label = @1
      block ;; label = @2
        local.get 0
        i32.load offset=296 align=1
        local.tee 4
        i32.const 5
        i32.lt_s
        if ;; label = @3
          local.get 2
          return
        end
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=8 align=1
        local.set 20
        local.get 0
        i64.load offset=24 align=1
        local.set 21
        local.get 0
        i64.load offset=48 align=1
        local.set 22
        local.get 0
        i64.load offset=256 align=1
        local.set 16
        local.get 0
        i64.load offset=264 align=1
        local.set 17
        local.get 0
        i32.load16_u offset=272 align=1
        local.set 7
        local.get 0
        v128.load offset=736 align=1
        local.set 23
        local.get 0
        v128.load offset=832 align=1
        local.set 24
        local.get 0
        v128.load offset=1248 align=1
        local.set 25
        local.get 0
        v128.load offset=1280 align=1
        local.set 26
        local.get 0
        v128.load offset=752 align=1
        local.set 27
        local.get 0
        v128.load offset=848 align=1
        local.set 28
        local.get 0
        v128.load offset=1264 align=1
        local.set 29
        local.get 0
        v128.load offset=1296 align=1
        local.set 30
        local.get 0
        v128.load32_splat offset=1376
        v128.const i32x4 0x0000ffe0 0x0000ffe0 0x0000ffe0 0x0000ffe0
        v128.and
        v128.const i32x4 0x00001fa0 0x00001fa0 0x00001fa0 0x00001fa0
        i32x4.eq
        local.set 31
        local.get 24
        v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
        v128.and
        v128.const i32x4 0x00000000 0x23d00000 0x00000000 0x23d00000
        f64x2.gt
        local.get 31
        v128.and
        local.set 31
        local.get 24
        v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
        v128.and
        v128.const i32x4 0x00000000 0x63b00000 0x00000000 0x63b00000
        f64x2.le
        local.get 31
        v128.and
        local.set 31
        local.get 28
        v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
        v128.and
        v128.const i32x4 0x00000000 0x23d00000 0x00000000 0x23d00000
        f64x2.gt
        local.get 31
        v128.and
        local.set 31
        local.get 28
        v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
        v128.and
        v128.const i32x4 0x00000000 0x63b00000 0x00000000 0x63b00000
        f64x2.le
        local.get 31
        v128.and
        local.set 31
        loop ;; label = @3
          local.get 4
          i32.const 5
          i32.sub
          local.set 4
          local.get 22
          local.set 13
          i32.const 1
          local.set 6
          local.get 13
          i64.const 7
          i64.shr_u
          i32.wrap_i64
          i32.const 262112
          i32.and
          local.get 3
          i32.add
          local.tee 5
          i64.load align=1
          local.get 13
          i64.const 31
          i64.add
          i64.const -4096
          i64.and
          i64.ne
          br_if 2 (;@1;)
          local.get 13
          i32.wrap_i64
          local.get 5
          i32.load offset=24 align=1
          i32.add
          local.tee 5
          v128.load offset=16 align=1
          local.set 29
          local.get 5
          v128.load align=1
          local.set 25
          local.get 24
          local.set 26
          local.get 28
          local.set 30
          local.get 26
          local.get 25
          f64x2.mul
          local.set 32
          local.get 30
          local.get 29
          f64x2.mul
          local.set 33
          local.get 32
          v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
          v128.and
          local.set 34
          local.get 33
          v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
          v128.and
          local.set 35
          local.get 32
          local.set 26
          local.get 33
          local.set 30
          local.get 26
          local.set 23
          local.get 30
          local.set 27
          local.get 21
          local.set 13
          i32.const 2
          local.set 6
          local.get 13
          i64.const 7
          i64.shr_u
          i32.wrap_i64
          i32.const 262112
          i32.and
          local.get 3
          i32.add
          local.tee 5
          i64.load offset=8 align=1
          local.get 13
          i64.const 31
          i64.add
          i64.const -4096
          i64.and
          i64.ne
          br_if 2 (;@1;)
          local.get 13
          i32.wrap_i64
          local.get 5
          i32.load offset=24 align=1
          i32.add
          local.tee 9
          local.tee 5
          v128.load offset=16 align=1
          local.set 29
          local.get 5
          v128.load align=1
          local.set 25
          local.get 23
          local.get 25
          f64x2.add
          local.set 32
          local.get 27
          local.get 29
          f64x2.add
          local.set 33
          local.get 25
          v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
          v128.and
          local.get 34
          f64x2.pmin
          local.set 34
          local.get 32
          local.set 36
          local.get 29
          v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
          v128.and
          local.get 35
          f64x2.pmin
          local.set 35
          local.get 33
          local.set 37
          local.get 32
          local.set 23
          local.get 33
          local.set 27
          local.get 31
          local.get 34
          local.get 35
          f64x2.pmin
          v128.const i32x4 0x00000000 0x23d00000 0x00000000 0x23d00000
          f64x2.gt
          v128.and
          local.get 36
          local.get 37
          f64x2.add
          local.set 38
          local.get 38
          v128.const i32x4 0xffffffff 0x7fffffff 0xffffffff 0x7fffffff
          v128.and
          v128.const i32x4 0x00000000 0x7ff00000 0x00000000 0x7ff00000
          f64x2.lt
          v128.and
          i64x2.bitmask
          i32.const 3
          i32.ne
          if ;; label = @4
            i32.const 3
            local.set 6
            i32.const 1
            br_if 3 (;@1;)
          end
          local.get 0
          local.get 23
          v128.store offset=736 align=1
          local.get 0
          local.get 27
          v128.store offset=752 align=1
          i32.const 4
          local.set 6
          local.get 9
          i32.const 0
          i32.add
          i32.const 31
          i32.and
          br_if 2 (;@1;)
          local.get 9
          local.tee 5
          local.get 27
          v128.store offset=16 align=1
          local.get 5
          local.get 23
          v128.store align=1
          local.get 16
          local.get 17
          i64.lt_u
          local.get 16
          local.get 17
          i64.add
          local.get 17
          i64.lt_u
          local.get 17
          i32.wrap_i64
          i32.const 1
          i32.and
          local.get 7
          i32.const 255
          i32.and
          i32.const 2
          i32.eq
          select
          local.get 7
          i32.const 255
          i32.and
          i32.const 1
          i32.eq
          select
          i64.extend_i32_u
          local.set 17
          local.get 20
          i64.const -1
          i64.add
          local.tee 16
          local.set 20
          local.get 16
          i64.eqz
          if ;; label = @4
            i32.const 5
            local.set 6
            br 3 (;@1;)
          end
          i32.const 6
          local.set 6
          local.get 4
          i32.const 5
          i32.lt_s
          br_if 2 (;@1;)
          local.get 17
          local.set 17
          local.get 16
          local.set 16
          i32.const 773
          local.set 7
          br 0 (;@3;)
        end
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
    local.get 20
    i64.store offset=360 align=1
    local.get 0
    local.get 15
    i64.store offset=312 align=1
    local.get 0
    local.get 16
    i64.store offset=320 align=1
    local.get 0
    local.get 17
    i64.store offset=328 align=1
    local.get 0
    local.get 7
    i32.store offset=308 align=1
    local.get 0
    local.get 19
    i64.store offset=336 align=1
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
