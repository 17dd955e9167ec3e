defmodule Py.Release do
  @moduledoc """
  A step of `mix release` that puts a Python with its packages into the release.

      def project do
        [
          releases: [
            shop: [
              steps: [:assemble, &Py.Release.python/1, :tar],
              python: [requirements: ["numpy>=1.26", "scikit-learn"]]
            ]
          ]
        ]
      end

  In the release, pools that name no interpreter have that one. Options below `:python`:

    * `:requirements` - requirements as pip has them, or the path of a `requirements.txt`
    * `:python_version` - such as `"3.11"` (default: the interpreter that pools use here)
    * `:interpreter` - `:copy` (default) takes the interpreter along; with `:link` the other machine has the same one in the same place
    * `:lock` - the file with the versions that the requirements came to, written where it is missing (default `python.lock`)
    * `:offline`, `:allow_builds` - booleans, see `docs/releases.md`
  """

  @doc "The step. It fails as uv or pip fail, with their words."
  def python(%{path: path, options: options} = release) do
    directory = Path.join(path, "python")
    given = Keyword.get(options, :python, [])
    IO.puts("* assembling Python in #{Path.relative_to_cwd(directory)}")
    # The application as mix has compiled it needs Elixir's.
    own = [{"EBIN", Path.dirname(:code.which(:py))}, {"ERL_LIBS", Path.dirname(:code.lib_dir(:elixir))}]

    case System.cmd(script(), [directory | arguments(given)], env: own, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} -> release
      {_, status} -> Mix.raise("the release has no Python: release-python ended with status #{status}")
    end
  end

  # Beside the sources, which are there where a release is made.
  defp script, do: Path.join(unquote(Path.expand("../..", __DIR__)), "scripts/release-python")

  defp arguments(given) do
    {requirements, given} = Keyword.pop(given, :requirements, [])
    named = if is_binary(requirements), do: ["--requirements=" <> requirements], else: requirements
    Enum.flat_map(given, &argument/1) ++ named
  end

  defp argument({:python_version, version}), do: ["--python=" <> version]
  defp argument({:lock, file}), do: ["--lock=" <> file]
  defp argument({:interpreter, :link}), do: ["--link"]
  defp argument({:interpreter, :copy}), do: []
  defp argument({:offline, offline}), do: if(offline, do: ["--offline"], else: [])
  defp argument({:allow_builds, builds}), do: if(builds, do: ["--builds"], else: [])
  defp argument({option, value}), do: Mix.raise("unknown option of a release's python: #{inspect([{option, value}])}")
end
