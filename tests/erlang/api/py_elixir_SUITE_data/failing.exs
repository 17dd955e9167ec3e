# One failure a line of the table below, each formatted as Elixir does it for people.
{:ok, :started} = :py.start()

shown = fn name, fun ->
  text =
    try do
      fun.()
    catch
      kind, reason -> Exception.format(kind, reason, __STACKTRACE__)
    end

  IO.puts("<<#{name}>>\n#{text}")
end

shown.("division", fn -> :py.truediv(1, 0) end)
shown.("traceback", fn -> :py.func(:json, :loads, ["{"]) end)
shown.("unicode", fn -> :py.func(:builtins, :int, ["ключ é 🐍"]) end)
shown.("surrogate", fn -> :py.func(:elixir_failures, :surrogate) end)
shown.("causes", fn -> :py.func(:elixir_failures, :caused, [5]) end)
shown.("item", fn -> :py.pmap(:math, :sqrt, [4, 9, -1]) end)
shown.("option", fn -> :py.func(:math, :sqrt, [2], %{tmeout: 5}) end)
shown.("arguments", fn -> :py.func(:math, :sqrt, 2) end)
shown.("timeout", fn -> :py.func(:time, :sleep, [60], %{timeout: 10}) end)
shown.("decode", fn -> :py.func(:builtins, :len, [<<255>>]) end)
shown.("pool", fn -> :py.func(:math, :sqrt, [2], %{pool: :nowhere}) end)
shown.("erlang", fn -> :py.func(:erl, :call, ["erlang", "binary_to_integer", [{:bytes, "x"}]]) end)
shown.("session", fn -> :py_session.eval(:py_session.open(), "1 / 0") end)
shown.("large", fn -> :py.func(:math, :sqrt, [{:bytes, :binary.copy(<<0>>, 2_097_152)}]) end)
shown.("struct", fn -> :py.func(:math, :sqrt, [MapSet.new(1..10_000)]) end)
shown.("rescued", fn ->
  try do
    :py.truediv(1, 0)
  rescue
    error in ErlangError -> "original #{inspect(elem(error.original, 1))}"
  end
end)

:py.stop()
