;; a module of 498 bytes for 10 bytes of code
;;   add rax,[rbx+rcx*8]
;;   dec rcx
;;   jns short 0
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
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
        local.get 0
        i64.load align=1
        local.set 20
        local.get 0
        i64.load offset=8 align=1
        local.set 21
        local.get 0
        i64.load offset=24 align=1
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
        loop ;; label = @3
          local.get 4
          i32.const 3
          i32.sub
          local.set 4
          local.get 22
          local.get 21
          i64.const 3
          i64.shl
          i64.add
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
          i64.const 7
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
          i64.load align=1
          local.set 23
          local.get 20
          local.set 15
          local.get 23
          local.set 17
          local.get 20
          local.get 23
          i64.add
          local.tee 16
          local.set 20
          local.get 16
          local.get 17
          i64.lt_u
          i64.extend_i32_u
          local.set 17
          local.get 21
          i64.const -1
          i64.add
          local.tee 16
          local.set 21
          local.get 16
          i64.const 0
          i64.lt_s
          if ;; label = @4
            i32.const 2
            local.set 6
            br 3 (;@1;)
          end
          i32.const 3
          local.set 6
          local.get 4
          i32.const 3
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
    i64.store offset=352 align=1
    local.get 0
    local.get 21
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
