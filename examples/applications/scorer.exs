# Scores customers by a model that Python has: from Elixir, with a pool under an Elixir supervisor.
#
#   elixir -pa _build/default/lib/py/ebin examples/applications/scorer.exs
defmodule Scorer do
  use Supervisor

  @model Path.join(System.tmp_dir!(), "scorer-#{System.pid()}.json")

  def start_link(weights) do
    train(weights)
    Supervisor.start_link(__MODULE__, nil, name: __MODULE__)
  end

  @impl true
  def init(_) do
    options = %{
      size: 2,
      python_path: [Path.dirname(__ENV__.file)],
      on_start: {:scorer, :load, [@model]},
      env: [{"PYTHONHASHSEED", "0"}],
      strings: :binary,
      dicts: :map,
      none: nil
    }

    Supervisor.init([:py.child_spec(:scorer, options)], strategy: :one_for_one)
  end

  # It may run twice: a score has no effects.
  def score(customer) do
    options = %{pool: :scorer, timeout: 60_000, retry: %{times: 2, on: [:worker_down]}}
    {:ok, :py.func(:scorer, :score, [customer], options)}
  rescue
    error in ErlangError -> {:error, reason(error.original)}
  end

  defp reason({:python, class, text, _}), do: {class, to_string(text)}
  defp reason({:py, reason}), do: reason

  # Dirty ones among many: each has an outcome of its own.
  def score_all(customers) do
    :py.pmap(:scorer, :score, customers, %{pool: :scorer, errors: :return})
  end

  # The new model is in each worker before the old one leaves.
  def train(weights) do
    File.write!(@model, weights)
    if Process.whereis(__MODULE__), do: :py.restart_pool(:scorer, %{start_first: true}), else: :ok
  end

  def forget, do: File.rm(@model)
end

:ok = Application.load(:py)
Application.put_env(:py, :pools, [{:default, :none}])
{:ok, :started} = :py.start()
{:ok, _} = Scorer.start_link(~s({"visits": 0.5, "spent": 0.01, "bias": -2}))

round = fn
  {:ok, score} when is_float(score) -> {:ok, Float.round(score, 3)}
  other -> other
end

IO.inspect(round.(Scorer.score(%{"visits" => 3, "spent" => 20})), label: "regular")
IO.inspect(round.(Scorer.score(%{"visits" => nil})), label: "unknown")
IO.inspect(round.(Scorer.score(%{"visits" => 3})), label: "incomplete")

customers = for visits <- 1..100, do: %{"visits" => visits, "spent" => 10}
scores = Scorer.score_all([%{"visits" => "many", "spent" => 1} | customers])
IO.puts("#{Enum.count(scores, &match?({:ok, _}, &1))} of #{length(scores)} scored")

:ok = Scorer.train(~s({"visits": 0.1, "spent": 0.01, "bias": 0}))
IO.inspect(round.(Scorer.score(%{"visits" => 3, "spent" => 20})), label: "by the new model")

%{calls: calls, run: %{p95_us: p95}} = :py.stats(:scorer)
IO.puts("#{calls} calls, most of them #{if p95 < 1_000_000, do: "within", else: "beyond"} a second")
:ok = Supervisor.stop(Scorer)
Scorer.forget()
{:ok, :stopped} = :py.stop()
