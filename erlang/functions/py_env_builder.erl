%%% @doc One build of an environment, from its request to the rename; the calling process is there for nothing else.
%%%
%%% ```
%%%   which Python -> lock, with hashes -> the key -> is it there already?
%%%                                            `-> virtual environment -> packages -> the application's own -> a first import -> rename
%%% '''
%%%
%%% uv does it where there is one, else the interpreter's own `venv' and `pip'. Nothing that they write is outside of the directory in which the
%%% environment is made, but for their caches.
%%% @private
-module(py_env_builder).

-include_lib("kernel/include/file.hrl").

-export([build/3, refresh/1, own_package/0, uv/0]).
-export_type([result/0]).

-type result() :: {ok, py_env:env(), Warnings :: [binary()]} | {error, {py, py_error:reason()}}.

-type own() :: [{Name :: string(), [file:filename()]}].
%% What the application's package needs, as the node's own Python has it: what it is called among the packages, and what it consists of.

-record(build, {
    root :: file:filename_all(),
    directory :: file:filename_all(),
    environment :: py_env_spec:environment(),
    python :: py_env_pythons:python(),
    uv :: file:filename_all() | none,
    own :: own() | none,
    run :: py_env_command:options()
}).

-define(SDIST, "erlang-py").
-define(MOST_TEXT, 4_000).
-define(REPORT,
    "import json, sys\n"
    "lines = []\n"
    "for item in json.load(open(sys.argv[1], encoding='utf-8'))['install']:\n"
    "    meta, info = item['metadata'], item['download_info']\n"
    "    archive = info.get('archive_info') or {}\n"
    "    hashes = archive.get('hashes') or dict([archive['hash'].split('=', 1)] if archive.get('hash') else [])\n"
    "    what = '%s @ %s' % (meta['name'], info['url']) if item.get('is_direct') else '%s==%s' % (meta['name'], meta['version'])\n"
    "    lines.append(what + ''.join(' --hash=%s:%s' % each for each in sorted(hashes.items())))\n"
    "print('\\n'.join(sorted(lines, key=str.lower)))\n"
).
%% What must be in it; and what it is.
-define(CHECK,
    "import os, sys, sysconfig\n"
    "import cloudpickle, erlang\n"
    "import erl\n"
    "from importlib import metadata\n"
    "names = sorted({'%s==%s' % (d.metadata['Name'], d.version) for d in metadata.distributions()}, key=str.lower)\n"
    "sys.stdout.buffer.write(os.fsencode('\\n'.join(['py', *names, ''])))\n"
).
-define(OWN,
    "import os, sys\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "import cloudpickle, erlang\n"
    "from importlib import metadata\n"
    "def info(name):\n"
    "    try: return str(metadata.distribution(name)._path)\n"
    "    except Exception: return ''\n"
    "lines = ['py', erlang.__file__, info('erlang-py'), os.path.dirname(cloudpickle.__file__), info('cloudpickle'), '']\n"
    "sys.stdout.buffer.write(os.fsencode('\\n'.join(lines)))\n"
).
-define(ASK_MS, 20_000).
-define(SITE, "import os, sys, sysconfig; sys.stdout.buffer.write(os.fsencode(sysconfig.get_path('purelib')))").

%% @doc Build it, or find that it is there.
-spec build(file:filename_all(), Hash :: binary(), py_env_spec:environment()) -> result().
build(Root, Hash, #{python_version := Version, timeout := Timeout} = Environment) ->
    Deadline = py_deadline:after_ms(Timeout),
    case py_env_pythons:choose(py_env_spec:version(Version), py_env_pythons:all()) of
        {ok, Python, Warnings} -> looked_up(Root, Hash, Environment, Python, Warnings, Deadline);
        {error, Text} -> failed(Text)
    end.

%% Where an interpreter that fits better may have come meanwhile.
looked_up(Root, Hash, Environment, #{path := Base} = Python, Warnings, Deadline) ->
    case py_env_files:request(Root, Hash) of
        {ok, Env, #{base := Base}} ->
            refresh(Env),
            {ok, Env, Warnings};
        _ ->
            case py_env_files:new(Root) of
                {ok, Directory} ->
                    Run = #{deadline => Deadline, directory => Directory},
                    Build = #build{root = Root, directory = Directory, environment = Environment, python = Python, uv = uv(), own = own_packages(), run = Run},
                    Result = try made(Build, Hash, Warnings) catch throw:{failed, Text} -> failed(Text) end,
                    py_directory:delete(Directory),
                    Result;
                {error, Reason} ->
                    py_store:unusable(Root, Reason)
            end
    end.

made(#build{own = [_ | _], environment = #{requirements := []}} = Build, Hash, Warnings) ->
    %% Nothing is to be fetched.
    keyed(<<>>, Build, Hash, Warnings, fun() -> bare(Build) end);
made(#build{uv = none} = Build, Hash, Warnings) ->
    {Venv, Pip} = venv_and_pip(Build),
    Lock = pip_lock(Build, Venv, Pip),
    keyed(Lock, Build, Hash, Warnings, fun() -> pip_install(Build, Pip, Lock), Venv end);
made(Build, Hash, Warnings) ->
    Lock = uv_lock(Build),
    keyed(Lock, Build, Hash, Warnings, fun() -> Venv = uv_venv(Build), uv_install(Build, Venv), Venv end).

keyed(Lock, #build{root = Root} = Build, Hash, Warnings, Install) ->
    Key = key(Lock, Build),
    case py_env_files:find(Root, Key) of
        {ok, Env} -> said(Env, Build, Hash, Warnings);
        error -> finished(Install(), Key, Lock, Build, Hash, Warnings)
    end.

key(Lock, #build{python = #{path := Path, version := Version, platform := Platform}, environment = #{instructions := Instructions}, own = Own}) ->
    py_env_spec:digest({1, Path, Version, Platform, Lock, Instructions, contents(Own)}).

finished(Venv, Key, Lock, #build{root = Root} = Build, Hash, Warnings) ->
    ok = own(Build, Venv),
    Packages = checked(Build, Venv),
    written(py_store:write(filename:join(Venv, "requirements.lock"), Lock), Build),
    written(py_env_files:relocate(Venv, py_env_files:path(Root, Key)), Build),
    case py_env_files:publish(Root, Venv, Key, description(Packages, Venv, Build)) of
        {ok, Env} -> said(Env, Build, Hash, Warnings);
        {error, Reason} -> py_store:unusable(Root, Reason)
    end.

description(Packages, Venv, #build{python = #{path := Path, version := Version, platform := Platform}, environment = #{requirements := Requirements}, uv = Uv}) ->
    #{
        python => Path,
        python_version => py_env_pythons:text(Version),
        platform => Platform,
        requirements => Requirements,
        packages => Packages,
        tool => if Uv =:= none -> <<"pip">>; true -> <<"uv">> end,
        bytes => bytes(Venv),
        created => erlang:system_time(millisecond)
    }.

%% Without what is linked.
bytes(Path) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = directory}} ->
            {ok, Names} = file:list_dir_all(Path),
            lists:sum([bytes(filename:join(Path, Name)) || Name <- Names]);
        {ok, #file_info{type = regular, size = Size}} -> Size;
        _ -> 0
    end.

said(#{key := Key} = Env, #build{root = Root, python = #{path := Base, identity := Identity}}, Hash, Warnings) ->
    case py_env_files:put_request(Root, Hash, #{key => Key, base => Base, identity => Identity, is_exact => Warnings =:= [], warnings => Warnings}) of
        ok -> {ok, Env, Warnings};
        {error, Reason} -> py_store:unusable(Root, Reason)
    end.

%%% Both ways

in(#build{directory = Directory}, Name) -> filename:join(Directory, Name).

python(Venv) -> filename:join([Venv, "bin", "python"]).

requirements(#build{environment = #{requirements := Requirements}, own = Own} = Build) ->
    File = in(Build, "requirements.in"),
    Lines = [[Line, $\n] || Line <- [Needed || Own =:= none, Needed <- py_env_spec:own_requirements()] ++ Requirements],
    written(file:write_file(File, Lines), Build),
    File.

binaries(#build{environment = #{allow_builds := true}}) -> [];
binaries(#build{own = none}) -> ["--only-binary", ":all:", "--no-binary", ?SDIST];
binaries(_Build) -> ["--only-binary", ":all:"].

%% The package of the application; its directory may have others beside it that are nobody's here.
own(#build{own = Own} = Build, Venv) ->
    Site = unicode:characters_to_list(run(python(Venv), ["-I", "-c", ?SITE], Build)),
    _ = [written(copied(Path, filename:join(Site, filename:basename(Path))), Build)
        || Own =/= none, {Name, Paths} <- Own, not filelib:is_file(filename:join(Site, Name)), Path <- Paths],
    case py_env_files:link_own(Site, own_package()) of
        ok -> ok;
        {error, eexist} -> throw({failed, "one of the requirements brings a package `erl', which is the name of py's own"});
        {error, Reason} -> unwritten(Reason, Build)
    end.

%% Files of Python, and what says which version they are of.
copied(From, To) ->
    case file:list_dir(From) of
        {ok, Names} ->
            Done = [file:make_dir(To) | [copied(filename:join(From, Name), filename:join(To, Name)) || Name <- Names, Name =/= "__pycache__"]],
            hd([Error || {error, _} = Error <- Done] ++ [ok]);
        {error, enotdir} ->
            case file:copy(From, To) of
                {ok, _} -> ok;
                Error -> Error
            end;
        Error ->
            Error
    end.

%% What would change what is built.
contents(none) -> none;
contents(Own) -> [{Name, [crypto:hash(sha256, Bytes) || File <- lists:sort(files(Path)), {ok, Bytes} <- [file:read_file(File)]]} || {Name, [Path | _]} <- Own].

files(Path) ->
    case filelib:is_dir(Path) of
        true -> [filename:join(Path, File) || File <- filelib:wildcard("*.py", Path)];
        false -> [Path]
    end.

%% The node's own Python has erlang-py and cloudpickle: among its packages, or where the application's package lies.
own_packages() ->
    case py_env_pythons:default() of
        {ok, Python} -> own_packages(Python);
        error -> none
    end.

own_packages(Python) ->
    Unset = [{Name, false} || Name <- ["PYTHONPATH", "PYTHONHOME"]],
    case py_program:run(Python, [{args, ["-I", "-c", ?OWN, py_launcher:package_dir()]}, {env, Unset}, {cd, "/"}], ?ASK_MS) of
        {0, Said} ->
            case [unicode:characters_to_list(Line) || Line <- binary:split(Said, <<"\n">>, [global])] of
                ["py", Erlang, ErlangInfo, Cloudpickle, CloudpickleInfo, ""] ->
                    [{filename:basename(Path), [Path | [Info || Info =/= ""]]} || {Path, Info} <- [{Erlang, ErlangInfo}, {Cloudpickle, CloudpickleInfo}]];
                _ ->
                    none
            end;
        _ ->
            none
    end.

%% @doc Have the application's package of now in an environment that another release of it has built.
-spec refresh(py_env:env()) -> ok.
refresh(#{path := Path}) ->
    _ = [py_env_files:link_own(filename:join(Path, Site), own_package()) || Site <- filelib:wildcard("lib/python3.*/site-packages", py_store:text(Path))],
    ok.

%% @doc Where the application's package `erl' lies.
-spec own_package() -> file:filename().
own_package() -> filename:join(py_launcher:package_dir(), "erl").

checked(Build, Venv) ->
    case binary:split(run(python(Venv), ["-I", "-c", ?CHECK], Build), <<"\n">>, [global, trim]) of
        [<<"py">> | Packages] -> Packages;
        Other -> throw({failed, io_lib:format("the environment was built, and its Python says ~tP", [Other, 10])})
    end.

%%% uv

%% @doc Where uv is: as the application's environment says, on PATH, beside the interpreter that pools use, or where its own installer puts it.
-spec uv() -> file:filename_all() | none.
uv() ->
    case py_env_spec:setting(uv) of
        none -> none;
        undefined -> found([os:find_executable("uv") | [os:find_executable("uv", Directory) || Directory <- beside()]]);
        Path -> Path
    end.

found(Paths) -> hd([Path || Path <- Paths, Path =/= false] ++ [none]).

beside() ->
    Own = case py_env_pythons:default() of {ok, Path} -> [filename:dirname(Path)]; error -> [] end,
    Own ++ [filename:join(Home, Name) || Home <- [os:getenv("HOME", "")], Home =/= "", Name <- [".local/bin", ".cargo/bin"]].

uv_venv(#build{uv = Uv, python = #{path := Python}} = Build) ->
    Venv = in(Build, "env"),
    _ = run(Uv, ["venv", "--quiet", "--no-project", "--python", Python, Venv], Build),
    Venv.

uv_lock(#build{uv = Uv, python = #{path := Python}} = Build) ->
    Lock = in(Build, "requirements.lock"),
    Args = ["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--python", Python, "--output-file", Lock],
    _ = run(Uv, Args ++ uv_options(Build) ++ [requirements(Build)], Build),
    read(Lock, Build).

uv_install(#build{uv = Uv} = Build, Venv) ->
    Args = ["pip", "sync", "--quiet", "--require-hashes", "--link-mode", "copy", "--python", python(Venv)],
    _ = run(Uv, Args ++ uv_options(Build) ++ [in(Build, "requirements.lock")], Build),
    ok.

uv_options(#build{environment = #{offline := Offline}} = Build) ->
    binaries(Build) ++ ["--offline" || Offline] ++ index("--default-index", "--index").

index(Default, Extra) ->
    [Each || Index <- [py_env_spec:setting(index)], Index =/= undefined, Each <- [Default, Index]] ++
        [Each || Index <- py_env_spec:setting(extra_indexes), Each <- [Extra, Index]] ++
        [Each || Link <- py_env_spec:setting(find_links), Each <- ["--find-links", Link]].

read(File, Build) ->
    case file:read_file(File) of
        {ok, Bytes} -> Bytes;
        {error, Reason} -> unwritten(Reason, Build)
    end.

bare(#build{uv = none, python = #{path := Python}} = Build) ->
    Venv = in(Build, "env"),
    _ = run(Python, ["-I", "-m", "venv", "--without-pip", Venv], Build),
    Venv;
bare(Build) ->
    uv_venv(Build).

%%% pip

%% The interpreter's own pip, if that can work for another one (from 22.3 on): to put one into each environment takes most of the time.
venv_and_pip(#build{python = #{path := Python}, run = Run} = Build) ->
    Venv = in(Build, "env"),
    Pip = ["-I", "-m", "pip", "--python", python(Venv)],
    _ = run(Python, ["-I", "-m", "venv", "--without-pip", Venv], Build),
    case py_env_command:run(Python, Pip ++ ["--version"], Run) of
        {ok, _} -> {Venv, {Python, Pip}};
        {error, _} -> with_pip(Venv, Build)
    end.

with_pip(Venv, #build{python = #{path := Python}} = Build) ->
    _ = run(Python, ["-I", "-m", "venv", "--clear", Venv], Build),
    {Venv, {python(Venv), ["-I", "-m", "pip"]}}.

pip(Build, {Python, Pip}, Args) -> run(Python, Pip ++ Args, Build).

pip_lock(Build, Venv, Pip) ->
    Report = in(Build, "report.json"),
    _ = pip(Build, Pip, ["install", "-qq", "--dry-run", "--ignore-installed", "--report", Report] ++ pip_options(Build) ++ ["--requirement", requirements(Build)]),
    Lock = run(python(Venv), ["-I", "-c", ?REPORT, Report], Build),
    written(file:write_file(in(Build, "requirements.lock"), Lock), Build),
    Lock.

%% Fetched and made with their hashes first; then what is there is installed, and kept for builds that are offline.
pip_install(#build{root = Root} = Build, Pip, Lock) ->
    Wheels = in(Build, "wheels"),
    Hashes = ["--require-hashes" || binary:match(Lock, <<" --hash=">>) =/= nomatch],
    _ = pip(Build, Pip, ["wheel", "-qq", "--no-deps", "--wheel-dir", Wheels] ++ Hashes ++ pip_options(Build) ++ ["--requirement", in(Build, "requirements.lock")]),
    Files = filelib:wildcard("*.whl", unicode:characters_to_list(Wheels)),
    _ = pip(Build, Pip, ["install", "-qq", "--no-deps", "--no-index" | [filename:join(Wheels, File) || File <- Files]]),
    _ = py_store:ensure(py_env_files:wheels(Root)),
    _ = [file:rename(filename:join(Wheels, File), filename:join(py_env_files:wheels(Root), File)) || File <- Files],
    ok.

pip_options(#build{root = Root, environment = #{offline := true}}) ->
    ["--only-binary", ":all:", "--no-index", "--find-links", py_env_files:wheels(Root)];
pip_options(Build) ->
    binaries(Build) ++ index("--index-url", "--extra-index-url").

%%% What fails

run(Program, Args, #build{run = Run}) ->
    case py_env_command:run(Program, Args, Run) of
        {ok, Said} -> Said;
        {error, {timeout, Said}} -> throw({failed, ["the build took longer than its timeout, and was ended", behind(Said)]});
        {error, {status, Status, Said}} -> throw({failed, own_words(Said, Status, Program)});
        {error, {start, Reason}} -> throw({failed, io_lib:format("~ts can't be started: ~tp", [Program, Reason])})
    end.

behind(Said) -> case string:trim(Said) of <<>> -> ""; Text -> ["; it had said:\n", shown(Text)] end.

own_words(Said, Status, Program) ->
    case string:trim(Said) of
        <<>> -> io_lib:format("~ts ended with the status ~w, and said nothing", [Program, Status]);
        Text -> shown(Text)
    end.

shown(Text) ->
    Utf8 = py_reason:utf8(Text),
    string:slice(py_env_spec:masked(Utf8), max(0, string:length(Utf8) - ?MOST_TEXT)).

written(ok, _Build) -> ok;
written({error, Reason}, Build) -> unwritten(Reason, Build).

-spec unwritten(file:posix() | atom(), #build{}) -> no_return().
unwritten(Reason, #build{root = Root}) -> throw({failed, io_lib:format("~ts: ~ts", [py_store:text(Root), file:format_error(Reason)])}).

failed(Text) -> {error, {py, {env, unicode:characters_to_list(Text)}}}.
