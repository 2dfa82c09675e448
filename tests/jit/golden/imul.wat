;; a module of 540 bytes for 11 bytes of code
;;   imul rax,rdx
;;   imul esi,edx,64h
;;   mul r8
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
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
        i64.load align=1
        local.set 20
        local.get 0
        i64.load offset=16 align=1
        local.set 21
        local.get 0
        i64.load offset=64 align=1
        local.set 23
        local.get 4
        i32.const 4
        i32.sub
        local.set 4
        local.get 20
        local.get 21
        i64.mul
        local.set 20
        i64.const 100
        local.set 24
        local.get 21
        local.get 24
        local.set 18
        i32.wrap_i64
        local.get 18
        i32.wrap_i64
        i32.mul
        i64.extend_i32_u
        local.set 22
        local.get 20
        local.set 14
        local.get 23
        local.set 18
        local.get 14
        i64.const 4294967295
        i64.and
        local.get 18
        i64.const 4294967295
        i64.and
        i64.mul
        i64.const 32
        i64.shr_u
        local.get 14
        i64.const 32
        i64.shr_u
        local.get 18
        i64.const 4294967295
        i64.and
        i64.mul
        i64.add
        local.tee 13
        i64.const 4294967295
        i64.and
        local.get 14
        i64.const 4294967295
        i64.and
        local.get 18
        i64.const 32
        i64.shr_u
        i64.mul
        i64.add
        i64.const 32
        i64.shr_u
        local.get 13
        i64.const 32
        i64.shr_u
        i64.add
        local.get 14
        i64.const 32
        i64.shr_u
        local.get 18
        i64.const 32
        i64.shr_u
        i64.mul
        i64.add
        local.set 13
        local.get 14
        local.get 18
        i64.mul
        local.set 14
        local.get 14
        local.set 16
        local.get 13
        i64.const 0
        i64.ne
        i64.extend_i32_u
        i64.const 3
        i64.mul
        local.set 17
        i32.const 774
        local.set 7
        local.get 14
        local.set 20
        local.get 13
        local.set 21
        local.get 0
        local.get 20
        i64.store align=1
        local.get 0
        local.get 21
        i64.store offset=16 align=1
        local.get 0
        local.get 22
        i64.store offset=48 align=1
        local.get 0
        local.get 16
        i64.store offset=256 align=1
        local.get 0
        local.get 17
        i64.store offset=264 align=1
        local.get 0
        local.get 7
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
        i64.const 655583
        i64.const 1335734829067
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
