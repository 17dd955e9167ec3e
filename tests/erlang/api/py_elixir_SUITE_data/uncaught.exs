{:ok, :started} = :py.start()
:py.func(:json, :loads, ["{"])
