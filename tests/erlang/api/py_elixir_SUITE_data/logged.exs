# Processes of each kind that end with an exception of Python's; Elixir's Logger says so.
{:ok, :started} = :py.start()

ended = fn pid ->
  monitor = Process.monitor(pid)
  receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
end

ended.(spawn(fn -> :py.truediv(1, 0) end))
{:ok, task} = Task.start(fn -> :py.func(:json, :loads, ["{"]) end)
ended.(task)

defmodule Server do
  use GenServer
  def init(state), do: {:ok, state}
  def handle_cast(:divide, state), do: {:noreply, state + :py.floordiv(1, 0)}
end

{:ok, server} = GenServer.start(Server, 1)
GenServer.cast(server, :divide)
ended.(server)

bytes = :binary.copy(<<0>>, 2_097_152)
ended.(spawn(fn -> :py.func(:math, :sqrt, [{:bytes, bytes}]) end))

Logger.flush()
:py.stop()
