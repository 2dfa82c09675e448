;; a module of 969 bytes for 13 bytes of code
;;   call 9
;;   inc rdx
;;   hlt
;;   inc rax
;;   ret
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    block ;; label = @1
      block ;; label = @2
        local.get 0
        i32.load offset=296 align=1
        local.tee 4
        i32.const 1
        i32.lt_s
        if ;; label = @3
          local.get 2
          return
        end
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=32 align=1
        local.set 22
        local.get 4
        i32.const 1
        i32.sub
        local.set 4
        local.get 2
        i64.const 9
        i64.add
        local.set 18
        local.get 2
        i64.const 5
        i64.add
        local.set 14
        local.get 22
        i64.const -8
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
        i64.load offset=8 align=1
        local.get 13
        i64.const 7
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
        local.get 14
        i64.store align=1
        local.get 22
        i64.const -8
        i64.add
        local.set 22
        local.get 0
        local.get 22
        i64.store offset=32 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        local.get 0
        local.get 14
        i64.store offset=624 align=1
        local.get 1
        i32.const 128
        i32.ge_u
        if ;; label = @3
          local.get 18
          local.set 14
          br 1 (;@2;)
        end
        local.get 18
        i32.wrap_i64
        local.get 18
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
        local.get 18
        i64.eq
        local.get 5
        i64.load offset=8 align=1
        local.get 0
        i64.load offset=280 align=1
        i64.eq
        i32.and
        if ;; label = @3
          local.get 0
          local.get 1
          i32.const 1
          i32.add
          local.get 18
          local.get 5
          i32.load offset=16 align=1
          call_indirect (type 0)
          local.set 18
        end
        local.get 18
        local.get 2
        i64.const 5
        i64.add
        local.tee 14
        i64.ne
        if ;; label = @3
          local.get 0
          local.get 1
          local.get 18
          local.get 14
          i32.const 3
          call_indirect (type 3)
          local.tee 18
          local.get 14
          i64.ne
          if ;; label = @4
            local.get 18
            return
          end
        end
        local.get 0
        i32.load offset=296 align=1
        local.set 4
        i32.const 2
        local.set 6
        local.get 4
        i32.const 4
        i32.lt_s
        br_if 1 (;@1;)
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=16 align=1
        local.set 21
        local.get 4
        i32.const 2
        i32.sub
        local.set 4
        local.get 0
        i64.load offset=256 align=1
        local.set 16
        local.get 0
        i64.load offset=264 align=1
        local.set 17
        local.get 0
        i32.load16_u offset=272 align=1
        local.set 7
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
        local.get 21
        i64.const 1
        i64.add
        local.tee 16
        local.set 21
        local.get 0
        local.get 21
        i64.store offset=16 align=1
        local.get 0
        local.get 16
        i64.store offset=256 align=1
        local.get 0
        local.get 17
        i64.store offset=264 align=1
        local.get 0
        i32.const 772
        i32.store16 offset=272 align=1
        local.get 0
        local.get 2
        i64.const 5
        i64.add
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 3
        local.set 6
        local.get 0
        i64.const 196831
        i64.const 1335734829060
        i32.const 4
        call_indirect (type 1)
        br_if 1 (;@1;)
        local.get 0
        i32.load offset=288 align=1
        local.set 3
        local.get 0
        i64.load offset=128 align=1
        local.set 14
        local.get 0
        i64.load align=1
        local.set 20
        local.get 0
        i64.load offset=32 align=1
        local.set 22
        local.get 14
        local.get 2
        i64.const 9
        i64.add
        i64.eq
        if ;; label = @3
          local.get 4
          i32.const 2
          i32.sub
          local.set 4
          local.get 0
          i64.load offset=256 align=1
          local.set 16
          local.get 0
          i64.load offset=264 align=1
          local.set 17
          local.get 0
          i32.load16_u offset=272 align=1
          local.set 7
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
          i64.const 1
          i64.add
          local.tee 16
          local.set 20
          local.get 22
          local.set 13
          i32.const 4
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
          local.set 14
          local.get 22
          i64.const 8
          i64.add
          local.set 22
          local.get 0
          local.get 20
          i64.store align=1
          local.get 0
          local.get 22
          i64.store offset=32 align=1
          local.get 0
          local.get 16
          i64.store offset=256 align=1
          local.get 0
          local.get 17
          i64.store offset=264 align=1
          local.get 0
          i32.const 772
          i32.store16 offset=272 align=1
          local.get 0
          local.get 4
          i32.store offset=296 align=1
          local.get 1
          if ;; label = @4
            local.get 14
            return
          end
          br 1 (;@2;)
        end
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
    local.get 20
    i64.store offset=352 align=1
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
