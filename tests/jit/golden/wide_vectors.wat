;; a module of 956 bytes for 28 bytes of code
;;   vmovups ymm1,[rbx]
;;   vpaddd ymm2,ymm1,ymm0
;;   vaddps ymm1,ymm1,ymm0
;;   vextracti128 xmm3,ymm2,1
;;   vpmovzxbw ymm4,xmm3
;;   vmovups [rsi],ymm1
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128)
    block ;; label = @1
      block ;; label = @2
        local.get 0
        i32.load offset=296 align=1
        local.tee 4
        i32.const 7
        i32.lt_s
        if ;; label = @3
          local.get 2
          return
        end
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=24 align=1
        local.set 20
        local.get 0
        i64.load offset=48 align=1
        local.set 21
        local.get 4
        i32.const 7
        i32.sub
        local.set 4
        local.get 20
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
        br_if 1 (;@1;)
        local.get 13
        i32.wrap_i64
        local.get 5
        i32.load offset=24 align=1
        i32.add
        local.tee 5
        v128.load offset=16 align=1
        local.set 22
        local.get 0
        local.get 22
        v128.store offset=784 align=1
        local.get 5
        v128.load align=1
        local.set 23
        local.get 0
        local.get 23
        v128.store offset=768 align=1
        local.get 23
        local.get 0
        v128.load offset=736 align=1
        local.set 24
        local.get 24
        i32x4.add
        local.set 25
        local.get 22
        local.get 0
        v128.load offset=752 align=1
        local.set 26
        local.get 26
        i32x4.add
        local.set 27
        local.get 0
        local.get 25
        v128.store offset=800 align=1
        local.get 0
        local.get 27
        v128.store offset=816 align=1
        local.get 0
        v128.load32_splat offset=1376
        v128.const i32x4 0x0000ffe0 0x0000ffe0 0x0000ffe0 0x0000ffe0
        v128.and
        v128.const i32x4 0x00001fa0 0x00001fa0 0x00001fa0 0x00001fa0
        i32x4.eq
        local.set 28
        local.get 23
        local.get 24
        f32x4.add
        local.set 29
        local.get 22
        local.get 26
        f32x4.add
        local.set 30
        local.get 23
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        local.set 31
        local.get 24
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        local.get 31
        f32x4.pmin
        local.set 31
        local.get 29
        local.set 32
        local.get 22
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        local.set 33
        local.get 26
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        local.get 33
        f32x4.pmin
        local.set 33
        local.get 30
        local.set 34
        local.get 29
        local.set 23
        local.get 30
        local.set 22
        local.get 28
        local.get 31
        local.get 33
        f32x4.pmin
        v128.const i32x4 0x10800000 0x10800000 0x10800000 0x10800000
        f32x4.gt
        v128.and
        local.get 32
        local.get 34
        f32x4.add
        local.set 35
        local.get 35
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        v128.const i32x4 0x7f800000 0x7f800000 0x7f800000 0x7f800000
        f32x4.lt
        v128.and
        i32x4.bitmask
        i32.const 15
        i32.ne
        if ;; label = @3
          i32.const 2
          local.set 6
          i32.const 1
          br_if 2 (;@1;)
        end
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        local.get 27
        local.set 36
        local.set 37
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        local.set 37
        local.get 36
        local.get 36
        i8x16.shuffle 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23
        i16x8.extend_low_i8x16_u
        local.get 36
        i16x8.extend_low_i8x16_u
        local.set 38
        local.set 39
        local.get 0
        local.get 23
        v128.store offset=768 align=1
        local.get 0
        local.get 36
        v128.store offset=832 align=1
        local.get 0
        local.get 38
        v128.store offset=864 align=1
        local.get 0
        local.get 22
        v128.store offset=784 align=1
        local.get 0
        local.get 37
        v128.store offset=848 align=1
        local.get 0
        local.get 39
        v128.store offset=880 align=1
        local.get 21
        local.set 13
        i32.const 3
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
        br_if 1 (;@1;)
        local.get 13
        i32.wrap_i64
        local.get 5
        i32.load offset=24 align=1
        i32.add
        local.tee 5
        local.get 22
        v128.store offset=16 align=1
        local.get 5
        local.get 23
        v128.store align=1
        local.get 0
        local.get 2
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 4
        local.set 6
        local.get 0
        i64.const 1769695
        i64.const 1335734829084
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
