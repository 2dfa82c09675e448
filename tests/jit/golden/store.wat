;; a module of 508 bytes for 14 bytes of code
;;   mov [rbx+8],rax
;;   mov [rbx+rcx],ah
;;   mov dword ptr [rbx],7
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 v128)
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
        local.set 16
        local.get 0
        i64.load offset=8 align=1
        local.set 17
        local.get 0
        i64.load offset=24 align=1
        local.set 18
        local.get 4
        i32.const 4
        i32.sub
        local.set 4
        local.get 18
        i64.const 8
        i64.add
        local.get 16
        local.set 10
        local.set 9
        i32.const 1
        local.set 6
        local.get 9
        i64.const 7
        i64.shr_u
        i32.wrap_i64
        i32.const 32736
        i32.and
        local.get 3
        i32.add
        local.tee 5
        i64.load offset=8 align=1
        local.get 9
        i64.const 7
        i64.add
        i64.const -4096
        i64.and
        i64.ne
        br_if 1 (;@1;)
        local.get 9
        i32.wrap_i64
        local.get 5
        i32.load offset=24 align=1
        i32.add
        local.get 10
        i64.store align=1
        local.get 16
        i64.const 8
        i64.shr_u
        i64.const 255
        i64.and
        local.set 19
        local.get 18
        local.get 17
        i64.add
        local.get 19
        local.set 10
        local.set 9
        i32.const 2
        local.set 6
        local.get 9
        i64.const 7
        i64.shr_u
        i32.wrap_i64
        i32.const 32736
        i32.and
        local.get 3
        i32.add
        local.tee 5
        i64.load offset=8 align=1
        local.get 9
        i64.const -4096
        i64.and
        i64.ne
        br_if 1 (;@1;)
        local.get 9
        i32.wrap_i64
        local.get 5
        i32.load offset=24 align=1
        i32.add
        local.get 10
        i64.store8
        local.get 18
        i64.const 7
        local.set 10
        local.set 9
        i32.const 3
        local.set 6
        local.get 9
        i64.const 7
        i64.shr_u
        i32.wrap_i64
        i32.const 32736
        i32.and
        local.get 3
        i32.add
        local.tee 5
        i64.load offset=8 align=1
        local.get 9
        i64.const 3
        i64.add
        i64.const -4096
        i64.and
        i64.ne
        br_if 1 (;@1;)
        local.get 9
        i32.wrap_i64
        local.get 5
        i32.load offset=24 align=1
        i32.add
        local.get 10
        i64.store32 align=1
        local.get 0
        local.get 2
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 4
        local.set 6
        local.get 0
        i64.const 852191
        i64.const 1331439861774
        i32.const 1
        call_indirect (type 1)
        br_if 1 (;@1;)
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=128 align=1
        local.set 10
        br 0 (;@2;)
        unreachable
      end
      local.get 10
      i32.wrap_i64
      local.get 10
      i64.const 12
      i64.shr_u
      i32.wrap_i64
      i32.xor
      i32.const 4095
      i32.and
      i32.const 5
      i32.shl
      local.get 0
      i32.load offset=292 align=1
      i32.add
      local.tee 5
      i64.load align=1
      local.get 10
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
        local.get 10
        local.get 5
        i32.load offset=16 align=1
        return_call_indirect (type 0)
      end
      local.get 10
      return
    end
    local.get 0
    local.get 19
    i64.store offset=552 align=1
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
