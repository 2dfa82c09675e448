;; a module of 652 bytes for 33 bytes of code
;;   add rax,rdx
;;   adc rsi,5
;;   sub ecx,edx
;;   sbb r8,r9
;;   xor r10w,55h
;;   and dl,0Fh
;;   inc r11
;;   neg rdi
;;   not rbp
;;   cmp rax,rdx
;;   hlt
  (func (;0;) (type 0) (param i32 i32 i64) (result i64)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    block ;; label = @1
      block ;; label = @2
        local.get 0
        i32.load offset=296 align=1
        local.tee 4
        i32.const 11
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
        i64.load offset=16 align=1
        local.set 22
        local.get 0
        i64.load offset=40 align=1
        local.set 23
        local.get 0
        i64.load offset=48 align=1
        local.set 24
        local.get 0
        i64.load offset=56 align=1
        local.set 25
        local.get 0
        i64.load offset=64 align=1
        local.set 26
        local.get 0
        i64.load offset=72 align=1
        local.set 27
        local.get 0
        i64.load offset=80 align=1
        local.set 28
        local.get 0
        i64.load offset=88 align=1
        local.set 29
        local.get 4
        i32.const 11
        i32.sub
        local.set 4
        local.get 20
        local.set 15
        local.get 22
        local.set 17
        local.get 20
        local.get 22
        i64.add
        local.tee 16
        local.set 20
        i64.const 5
        local.set 30
        local.get 16
        local.get 17
        i64.lt_u
        local.set 8
        local.get 24
        local.set 15
        local.get 30
        local.set 17
        local.get 15
        local.get 17
        i64.add
        local.get 8
        i64.extend_i32_u
        i64.add
        local.set 16
        local.get 16
        local.set 24
        local.get 21
        local.set 15
        local.get 22
        local.set 17
        local.get 21
        i32.wrap_i64
        local.get 22
        i32.wrap_i64
        i32.sub
        i64.extend_i32_u
        local.tee 16
        local.set 21
        local.get 15
        i32.wrap_i64
        local.get 17
        i32.wrap_i64
        i32.lt_u
        local.set 8
        local.get 26
        local.set 15
        local.get 27
        local.set 17
        local.get 15
        local.get 17
        i64.sub
        local.get 8
        i64.extend_i32_u
        i64.sub
        local.set 16
        local.get 16
        local.set 26
        local.get 28
        i64.const 85
        i64.xor
        i64.const 65535
        i64.and
        local.get 28
        i64.const -65536
        i64.and
        i64.or
        local.set 28
        local.get 22
        i64.const 15
        i64.and
        i64.const 255
        i64.and
        local.get 22
        i64.const -256
        i64.and
        i64.or
        local.set 22
        local.get 29
        i64.const 1
        i64.add
        local.set 29
        i64.const 0
        local.get 25
        i64.sub
        local.set 25
        local.get 23
        i64.const -1
        i64.xor
        local.set 23
        local.get 20
        local.tee 15
        local.get 22
        local.tee 17
        i64.sub
        local.set 16
        local.get 0
        local.get 20
        i64.store align=1
        local.get 0
        local.get 21
        i64.store offset=8 align=1
        local.get 0
        local.get 22
        i64.store offset=16 align=1
        local.get 0
        local.get 23
        i64.store offset=40 align=1
        local.get 0
        local.get 24
        i64.store offset=48 align=1
        local.get 0
        local.get 25
        i64.store offset=56 align=1
        local.get 0
        local.get 26
        i64.store offset=64 align=1
        local.get 0
        local.get 28
        i64.store offset=80 align=1
        local.get 0
        local.get 29
        i64.store offset=88 align=1
        local.get 0
        local.get 16
        i64.store offset=256 align=1
        local.get 0
        local.get 17
        i64.store offset=264 align=1
        local.get 0
        i32.const 770
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
        i64.const 2097375
        i64.const 1335734829089
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
