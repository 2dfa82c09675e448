;; a module of 815 bytes for 14 bytes of code
;;   vmovaps xmm1,[rsi]
;;   vfnmsub213ps xmm1,xmm0,[rbx]
;;   vmovaps [rbx],xmm1
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 v128 v128 v128 v128 v128 v128 v128)
    block ;; label = @1
      block ;; label = @2
        local.get 0
        i32.load offset=296 align=1
        local.tee 4
        i32.const 4
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
        i32.const 4
        i32.sub
        local.set 4
        local.get 21
        local.set 13
        i32.const 1
        local.set 6
        local.get 13
        i32.wrap_i64
        i32.const 15
        i32.and
        br_if 1 (;@1;)
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
        i64.const 15
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
        v128.load align=1
        local.set 22
        local.get 0
        local.get 22
        v128.store offset=768 align=1
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        local.set 23
        local.get 0
        local.get 23
        v128.store offset=784 align=1
        local.get 20
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
        i64.const 15
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
        local.tee 9
        v128.load align=1
        local.set 24
        local.get 0
        local.get 24
        v128.store offset=1248 align=1
        local.get 0
        v128.load32_splat offset=1376
        v128.const i32x4 0x0000ffe0 0x0000ffe0 0x0000ffe0 0x0000ffe0
        v128.and
        v128.const i32x4 0x00001fa0 0x00001fa0 0x00001fa0 0x00001fa0
        i32x4.eq
        local.set 25
        local.get 0
        v128.load offset=736 align=1
        local.set 26
        local.get 26
        local.get 22
        local.get 24
        v128.const i32x4 0x80000000 0x80000000 0x80000000 0x80000000
        v128.xor
        f32x4.relaxed_nmadd
        local.set 27
        local.get 27
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        local.tee 28
        local.get 26
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        f32x4.pmin
        local.get 22
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        f32x4.pmin
        local.get 24
        v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff
        v128.and
        f32x4.pmin
        v128.const i32x4 0x00800000 0x00800000 0x00800000 0x00800000
        f32x4.gt
        local.get 28
        v128.const i32x4 0x7f800000 0x7f800000 0x7f800000 0x7f800000
        f32x4.lt
        v128.and
        local.get 25
        v128.and
        i32x4.bitmask
        i32.const 15
        i32.ne
        if ;; label = @3
          i32.const 3
          local.set 6
          i32.const 1
          br_if 2 (;@1;)
        end
        local.get 27
        local.set 22
        local.get 0
        local.get 22
        v128.store offset=768 align=1
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        local.set 23
        local.get 0
        local.get 23
        v128.store offset=784 align=1
        i32.const 4
        local.set 6
        local.get 9
        i32.const 0
        i32.add
        i32.const 15
        i32.and
        br_if 1 (;@1;)
        local.get 9
        local.get 22
        v128.store align=1
        local.get 0
        local.get 2
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 5
        local.set 6
        local.get 0
        i64.const 852191
        i64.const 1335734829070
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
