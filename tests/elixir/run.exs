# The tests of what is written in Elixir, with the application running: `elixir -pa EBIN -r tests/elixir/run.exs`.
# They are run by tests/erlang/api/py_elixir_SUITE.erl, whose ebin has the modules of lib/.
ExUnit.start(timeout: 120_000)
{:ok, :started} = :py.start()
Path.wildcard(Path.join(__DIR__, "*_test.exs")) |> Enum.each(&Code.require_file/1)
