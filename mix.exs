defmodule Py.MixProject do
  use Mix.Project

  # The version and the rest of what the application is stand there; rebar3 reads the same.
  {:ok, [{:application, :py, properties}]} = :file.consult(Path.join(__DIR__, "erlang/py.app.src"))
  @application properties

  def project do
    [
      app: :py,
      version: List.to_string(@application[:vsn]),
      description: List.to_string(@application[:description]),
      elixir: "~> 1.14",
      erlc_paths: ["erlang"],
      erlc_options: [:debug_info],
      # Beside rebar3's, which calls some of its own by the same names.
      build_path: "_build/mix",
      deps: [],
      package: package()
    ]
  end

  def application do
    [
      mod: @application[:mod],
      registered: @application[:registered],
      extra_applications: @application[:applications] -- [:kernel, :stdlib]
    ]
  end

  defp package do
    [
      licenses: Enum.map(@application[:licenses], &List.to_string/1),
      links: Map.new(@application[:links], fn {name, link} -> {List.to_string(name), List.to_string(link)} end),
      files: ~w(erlang lib priv python/erl python/digitalhub.py python/digitalhub_runtime_python.py python/pyproject.toml python/setup.py python/MANIFEST.in python/README.md scripts/docs-in-beams scripts/docs-in-beams.escript scripts/release-python mix.exs rebar.config LICENSE README.md CHANGELOG.md)
    ]
  end
end
