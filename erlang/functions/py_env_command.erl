%%% @doc Runs one program of a build, in a process group of its own that ends with whoever wants it: at the deadline, with the calling process,
%%% and with the BEAM.
%%%
%%% A shell stands between: it gives the program nothing to read, and waits itself for the end of its own input, which is the port's. When
%%% that comes, however the BEAM has ended, it kills the group.
%%% @private
-module(py_env_command).

-export([run/3]).
-export_type([options/0]).

-type options() :: #{deadline := py_deadline:deadline(), directory := file:filename_all()}.
%% `directory': for what programs put aside.

-define(MOST_BYTES, 65_536).
-define(GUARD,
    "umask 077\n"
    "exec 3<&0 </dev/null\n"
    "\"$@\" 3<&- &\n"
    "program=$!\n"
    "(read -r line <&3; kill -s KILL -- -$$) >/dev/null 2>&1 &\n"
    "guard=$!\n"
    "exec 3<&-\n"
    "wait $program\n"
    "status=$?\n"
    "exec >/dev/null 2>&1\n"
    "kill -s KILL $guard\n"
    "exit $status\n"
).
%% All that may be said of an index, of certificates, proxies and caches, is the machine's and stays; what would change what is built goes.
-define(KEPT_OF_PIP, [
    "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST", "CERT", "CLIENT_CERT", "PROXY", "DEFAULT_TIMEOUT", "TIMEOUT", "RETRIES",
    "CACHE_DIR", "CONFIG_FILE", "KEYRING_PROVIDER", "CONSTRAINT", "USE_FEATURE"
]).
-define(KEPT_OF_UV, [
    "INDEX", "DEFAULT_INDEX", "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "INDEX_STRATEGY", "INSECURE_HOST", "CACHE_DIR", "CONFIG_FILE",
    "NO_CONFIG", "HTTP_TIMEOUT", "HTTP_RETRIES", "NATIVE_TLS", "SYSTEM_CERTS", "KEYRING_PROVIDER", "CONSTRAINT", "CONCURRENT_DOWNLOADS", "CONCURRENT_BUILDS",
    "CONCURRENT_INSTALLS", "OFFLINE", "PYTHON_INSTALL_DIR"
]).
-define(UNSET, ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUSERBASE", "VIRTUAL_ENV", "CONDA_PREFIX", "FORCE_COLOR",
    "CLICOLOR_FORCE", "RUST_LOG", "RUST_BACKTRACE"]).

%% @doc What a program prints on both outputs, the last 64 KiB of it; an error where it fails: what it has said, its own words.
-spec run(file:filename_all(), [file:filename_all()], options()) -> {ok, binary()} | {error, {status, integer(), binary()} | {timeout, binary()} | {start, term()}}.
run(Program, Args, #{deadline := Deadline, directory := Directory}) ->
    Options = [
        {args, ["-c", ?GUARD, "build", Program | Args]}, {env, environment(Directory)}, {cd, "/"},
        stderr_to_stdout, exit_status, binary, hide, use_stdio
    ],
    try open_port({spawn_executable, "/bin/sh"}, Options) of
        Port -> collect(Port, Deadline, <<>>)
    catch
        error:Reason -> {error, {start, Reason}}
    end.

collect(Port, Deadline, Said) ->
    receive
        {Port, {data, Data}} ->
            More = last(<<Said/binary, Data/binary>>),
            case py_deadline:is_over(Deadline) of
                false -> collect(Port, Deadline, More);
                true -> given_up(Port, More)
            end;
        {Port, {exit_status, 0}} -> {ok, Said};
        {Port, {exit_status, Status}} -> {error, {status, Status, Said}}
    after py_deadline:left_ms(Deadline) -> given_up(Port, Said)
    end.

last(Said) when byte_size(Said) > 2 * ?MOST_BYTES -> binary:copy(binary:part(Said, byte_size(Said), -?MOST_BYTES));
last(Said) -> Said.

given_up(Port, Said) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, OsPid} -> py_launcher:end_group(OsPid);
        undefined -> ok
    end,
    _ = catch port_close(Port),
    flush(Port),
    {error, {timeout, Said}}.

flush(Port) ->
    receive
        {Port, _} -> flush(Port)
    after 0 -> ok
    end.

environment(Directory) ->
    Names = [Name || Variable <- os:getenv(), [Name | _] <- [string:split(Variable, "=")]],
    [{Name, false} || Name <- ?UNSET] ++
        [{Name, false} || "PIP_" ++ What = Name <- Names, not lists:member(What, ?KEPT_OF_PIP)] ++
        [{Name, false} || "UV_" ++ What = Name <- Names, not is_kept_of_uv(What)] ++
        [
            {"PATH", path(os:getenv("PATH"))},
            {"TMPDIR", native(Directory)},
            {"NO_COLOR", "1"},
            {"UV_PYTHON_DOWNLOADS", "never"},
            {"UV_NO_PROGRESS", "1"},
            {"PIP_NO_INPUT", "1"},
            {"PIP_NO_COLOR", "1"},
            {"PIP_DISABLE_PIP_VERSION_CHECK", "1"},
            {"PIP_PROGRESS_BAR", "off"}
        ].

is_kept_of_uv("INDEX_" ++ _) -> true;
is_kept_of_uv(What) -> lists:member(What, ?KEPT_OF_UV).

path(Path) when Path =:= false; Path =:= "" -> "/usr/local/bin:/usr/bin:/bin";
path(Path) -> Path.

%% Under a locale that is not UTF-8 a port takes bytes.
native(Path) ->
    case file:native_name_encoding() of
        utf8 -> py_store:text(Path);
        latin1 -> binary_to_list(py_store:bytes(Path))
    end.
