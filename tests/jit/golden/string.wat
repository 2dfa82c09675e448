;; a module of 775 bytes for 6 bytes of code
;;   rep movsq [rdi],[rsi]
;;   lodsd [rsi]
;;   stosd [rdi]
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64)
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
        local.get 4
        i32.const 1
        i32.sub
        local.set 4
        local.get 0
        local.get 2
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        block ;; label = @3
          block ;; label = @4
            local.get 0
            i64.load offset=8 align=1
            local.tee 18
            i64.const 1
            i64.sub
            i64.const 128
            i64.ge_u
            br_if 0 (;@4;)
            local.get 0
            i64.load offset=704 align=1
            i32.wrap_i64
            i32.const 1024
            i32.and
            br_if 0 (;@4;)
            local.get 18
            i64.const 3
            i64.shl
            local.set 18
            local.get 0
            i64.load offset=56 align=1
            local.tee 13
            i32.wrap_i64
            i32.const 4095
            i32.and
            local.get 18
            i32.wrap_i64
            i32.add
            i32.const 4096
            i32.gt_u
            br_if 0 (;@4;)
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
            i64.const -4096
            i64.and
            i64.ne
            br_if 0 (;@4;)
            local.get 13
            i32.wrap_i64
            local.get 5
            i32.load offset=24 align=1
            i32.add
            local.set 9
            local.get 0
            i64.load offset=48 align=1
            local.tee 13
            i32.wrap_i64
            i32.const 4095
            i32.and
            local.get 18
            i32.wrap_i64
            i32.add
            i32.const 4096
            i32.gt_u
            br_if 0 (;@4;)
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
            i64.const -4096
            i64.and
            i64.ne
            br_if 0 (;@4;)
            local.get 13
            i32.wrap_i64
            local.get 5
            i32.load offset=24 align=1
            i32.add
            local.set 10
            local.get 9
            local.get 10
            i32.sub
            local.get 18
            i32.wrap_i64
            i32.lt_u
            br_if 0 (;@4;)
            local.get 18
            i32.wrap_i64
            i32.const 128
            i32.gt_u
            if ;; label = @5
              local.get 9
              local.get 10
              local.get 18
              i32.wrap_i64
              memory.copy
            else
              local.get 9
              local.get 18
              i32.wrap_i64
              i32.add
              local.set 11
              loop ;; label = @6
                local.get 9
                local.get 10
                i64.load align=1
                local.get 10
                i32.const 8
                i32.add
                local.set 10
                i64.store align=1
                local.get 9
                i32.const 8
                i32.add
                local.tee 9
                local.get 11
                i32.ne
                br_if 0 (;@6;)
              end
            end
            local.get 0
            local.get 0
            i64.load offset=56 align=1
            local.get 18
            i64.add
            i64.store offset=56 align=1
            local.get 0
            local.get 0
            i64.load offset=48 align=1
            local.get 18
            i64.add
            i64.store offset=48 align=1
            local.get 0
            i64.const 0
            i64.store offset=8 align=1
            local.get 2
            i64.const 3
            i64.add
            local.set 14
            br 1 (;@3;)
          end
          i32.const 1
          local.set 6
          local.get 0
          i64.const 217024903625310431
          i64.const 85899345923
          i32.const 4
          call_indirect (type 1)
          br_if 2 (;@1;)
          local.get 0
          i32.load offset=288 align=1
          local.set 3
          local.get 0
          i64.load offset=128 align=1
          local.set 14
        end
        local.get 14
        local.get 2
        i64.const 3
        i64.add
        i64.eq
        if ;; label = @3
          local.get 4
          i32.const 3
          i32.sub
          local.set 4
          local.get 0
          local.get 2
          i64.const 3
          i64.add
          i64.store offset=128 align=1
          local.get 0
          local.get 4
          i32.store offset=296 align=1
          i32.const 2
          local.set 6
          local.get 0
          i64.const 144962920130805982
          i64.const 85899345921
          i32.const 4
          call_indirect (type 1)
          br_if 2 (;@1;)
          local.get 0
          i32.load offset=288 align=1
          local.set 3
          local.get 0
          local.get 4
          i32.store offset=296 align=1
          i32.const 3
          local.set 6
          local.get 0
          i64.const 144962915835904222
          i64.const 85899345922
          i32.const 4
          call_indirect (type 1)
          br_if 2 (;@1;)
          local.get 0
          i32.load offset=288 align=1
          local.set 3
          local.get 0
          local.get 4
          i32.store offset=296 align=1
          i32.const 4
          local.set 6
          local.get 0
          i64.const 131295
          i64.const 1335734829059
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
