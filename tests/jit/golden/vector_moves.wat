;; a module of 508 bytes for 25 bytes of code
;;   movaps xmm1,xmm0
;;   movups xmm2,[rbx]
;;   movaps [rbx+10h],xmm2
;;   movq xmm3,rax
;;   movq rdx,xmm3
;;   movsd xmm4,[rbx]
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 v128 v128 v128 v128 v128)
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
        i64.load align=1
        local.set 20
        local.get 0
        i64.load offset=24 align=1
        local.set 22
        local.get 4
        i32.const 7
        i32.sub
        local.set 4
        local.get 0
        v128.load offset=736 align=1
        local.set 23
        local.get 23
        local.set 24
        local.get 0
        local.get 24
        v128.store offset=768 align=1
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
        local.tee 9
        v128.load align=1
        local.set 25
        local.get 0
        local.get 25
        v128.store offset=800 align=1
        i32.const 2
        local.set 6
        local.get 9
        i32.const 16
        i32.add
        i32.const 15
        i32.and
        br_if 1 (;@1;)
        local.get 9
        local.get 25
        v128.store offset=16 align=1
        v128.const i32x4 0x00000000 0x00000000 0x00000000 0x00000000
        local.get 20
        i64x2.replace_lane 0
        local.set 26
        local.get 26
        i64x2.extract_lane 0
        local.set 21
        local.get 9
        v128.load64_zero align=1
        local.set 27
        local.get 0
        local.get 26
        v128.store offset=832 align=1
        local.get 0
        local.get 27
        v128.store offset=864 align=1
        local.get 0
        local.get 21
        i64.store offset=16 align=1
        local.get 0
        local.get 2
        i64.store offset=128 align=1
        local.get 0
        local.get 4
        i32.store offset=296 align=1
        i32.const 3
        local.set 6
        local.get 0
        i64.const 1573087
        i64.const 1335734829081
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
