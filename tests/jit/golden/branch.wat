;; a module of 525 bytes for 23 bytes of code
;;   test ecx,1
;;   jne short 0000000000000010h
;;   add rax,1
;;   jmp short 0000000000000016h
;;   add rax,2
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64)
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
        i64.load align=1
        local.set 20
        local.get 0
        i64.load offset=8 align=1
        local.set 21
        local.get 4
        i32.const 2
        i32.sub
        local.set 4
        local.get 21
        i32.wrap_i64
        i32.const 1
        i32.and
        i32.eqz
        if ;; label = @3
          local.get 4
          i32.const 2
          i32.sub
          local.set 4
          local.get 20
          local.set 15
          i64.const 1
          local.set 17
          local.get 20
          i64.const 1
          i64.add
          local.tee 16
          local.set 20
          local.get 4
          i32.const 1
          i32.sub
          local.set 4
          local.get 0
          local.get 20
          i64.store align=1
          local.get 0
          local.get 16
          i64.store offset=256 align=1
          local.get 0
          local.get 17
          i64.store offset=264 align=1
          local.get 0
          i32.const 769
          i32.store16 offset=272 align=1
          local.get 0
          local.get 2
          i64.const 22
          i64.add
          i64.store offset=128 align=1
          local.get 0
          local.get 4
          i32.store offset=296 align=1
          i32.const 1
          local.set 6
          local.get 0
          i64.const 223
          i64.const 1335734829057
          i32.const 4
          call_indirect (type 1)
          br_if 2 (;@1;)
          local.get 0
          i32.load offset=288 align=1
          local.set 3
          local.get 0
          i64.load offset=128 align=1
          local.set 14
          br 1 (;@2;)
        end
        local.get 4
        i32.const 2
        i32.sub
        local.set 4
        local.get 20
        local.set 15
        i64.const 2
        local.set 17
        local.get 20
        i64.const 2
        i64.add
        local.tee 16
        local.set 20
        local.get 0
        local.get 20
        i64.store align=1
        local.get 0
        local.get 16
        i64.store offset=256 align=1
        local.get 0
        local.get 17
        i64.store offset=264 align=1
        local.get 0
        i32.const 769
        i32.store16 offset=272 align=1
        local.get 0
        local.get 2
        i64.const 16
        i64.add
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 2
        local.set 6
        local.get 0
        i64.const 393439
        i64.const 1335734829063
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
