;; a module of 150 bytes for 16 bytes of code
;;   shl rax,5
;;   shr edx,3
;;   sar rsi,cl
;;   shld r8,r9,7
;;   hlt
  (func (;0;) (type 3) (param i32 i32 i64 i64) (result i64)
    (local i32)
    loop ;; label = @1
      local.get 0
      local.get 2
      local.get 3
      i32.const 2
      call_indirect (type 4)
      local.tee 2
      local.get 3
      i64.eq
      local.get 0
      i32.load offset=608 align=1
      local.tee 4
      i32.eqz
      i32.or
      if ;; label = @2
        local.get 2
        return
      end
      local.get 0
      local.get 1
      i32.const 1
      i32.add
      local.get 2
      local.get 4
      call_indirect (type 0)
      local.tee 2
      local.get 3
      i64.ne
      br_if 0 (;@1;)
    end
    local.get 2
  )
