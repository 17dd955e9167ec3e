%%% @doc What a reason is for people: what was wrong, where, and what to do about it. A function of the reason and of nothing else.
%%%
%%% Each reason that an error of ours can have is listed in {@link py_error}.
%%% @private
-module(py_reason).

-export([text/1, start_text/1, source_text/1, sandbox_text/1, utf8/1]).

%% @doc A failure for people: Python's traceback, or what was wrong and what to do. Whatever Python has sent as one is a text
%% here, and nothing that fails: processes ask that have others to look after.
-spec text(term()) -> unicode:chardata().
text(Error) -> printable(fun told/1, Error).

printable(Told, Error) ->
    try
        Text = Told(Error),
        case unicode:characters_to_binary(Text) of
            Binary when is_binary(Binary) -> Text;
            _ -> characters(Text)
        end
    catch
        error:_ -> io_lib:format("~tP", [Error, 20])
    end.

told({python, Class, Text, Trace}) when is_atom(Class), is_list(Trace) ->
    traceback(Class, Text, Trace);
told({erlang, Class, Reason, Stack}) when is_atom(Class), is_list(Stack) ->
    io_lib:format("an Erlang function that Python called raised ~tp: ~tP", [Class, Reason, 20]);
told({py, Reason}) ->
    reason(Reason);
told(_) ->
    "".

traceback(Class, Text, Trace) ->
    Frames = [Frame || {_, _, _, _} = Frame <- Trace, element(1, Frame) =/= cause],
    [
        [io_lib:format("In item ~w of the list:~n", [Index]) || {item, Index} <- Trace],
        [[traceback(C, T, F), "\n\nThat led to:\n\n"] || {cause, C, T, F} <- Trace],
        ["Traceback (most recent call last):\n" || Frames =/= []],
        [frame(Frame) || Frame <- lists:reverse(Frames)],
        atom_to_list(Class),
        [[": ", characters(Text)] || Text =/= "", Text =/= <<>>]
    ].

frame({File, Line, Function, Source}) ->
    [
        io_lib:format("  File \"~ts\", line ~w, in ~ts~n", [characters(File), Line, characters(Function)]),
        ["    " ++ characters(Source) ++ "\n" || Source =/= "", Source =/= <<>>]
    ].

reason(timeout) -> "the call did not end within its timeout";
reason(not_started) -> "the application py is not running, or not yet; py:start() starts it";
reason({no_directory, Path}) ->
    io_lib:format(
        "there is no place for the application's directory: in /dev/shm, TMPDIR and ~ts nothing can be written, or others can "
        "put something else in its place (a directory that all may write in must be sticky)", [Path]);
reason(overload) -> "all workers of the pool have as many calls waiting as its max_queue allows";
reason({nested, Most}) ->
    io_lib:format(
        "~w calls of this worker wait for Erlang inside each other, and the innermost for this one, which would have to be inside "
        "them, too. Not more than 64 may, fewer where Python has recursed deep, and none in the middle of an import; call another "
        "worker or pool from a function that Python calls", [Most]
    );
reason({scheduler, Term}) -> io_lib:format("the pool's scheduler chose no worker of it: ~tP", [Term, 20]);
reason({last_worker, Pool}) -> io_lib:format("it is the last worker of pool ~tP; py:stop_pool/1 stops the pool", [Pool, 20]);
reason({too_many_workers, Most}) -> io_lib:format("a pool has ~w workers at most", [Most]);
reason({unknown_pool, Name}) -> io_lib:format("there is no pool ~tP; py:status() shows those that there are", [Name, 20]);
reason({unknown_worker, Worker}) -> io_lib:format("~tP is no worker; py:workers() lists them", [Worker, 20]);
reason({worker_down, {start, Reason}}) -> start_text(Reason);
reason({worker_down, Reason}) -> ["the worker's Python ended: ", down(Reason)];
reason({other_pool, Name}) ->
    io_lib:format("the references of the call are in pool ~tP, which may map values in another way: encode it for that pool", [Name, 20]);
reason({stale_reference, Text}) when is_list(Text) -> Text;
reason({stale_reference, Reference}) -> io_lib:format("the worker of ~tP is gone", [Reference, 20]);
reason({shared_memory, Text}) -> Text;
reason({elsewhere, Text}) -> Text;
reason({no_shared_memory, Text}) -> Text;
reason({encode, Text}) -> Text;
reason({decode, Text}) -> Text;
reason({protocol, Reason}) -> io_lib:format("Python sent what can't be read: ~tP", [Reason, 20]);
reason({node_down, Node}) -> io_lib:format("no connection to ~tP", [Node, 20]);
reason({not_distributed, Node}) ->
    io_lib:format("this node has no name to connect to ~tP with: start it with -sname or -name", [Node, 20]);
reason({ship, sandboxed}) ->
    "modules come from the pool default, and it is in sandboxes: what it says a module is is not run elsewhere";
reason({ship, {version, Node, Version, Version}}) ->
    io_lib:format("~tp was given another build of version ~ts of py: py_cluster:start(Node, #{upgrade => true}) stops it there and gives it this one", [Node, Version]);
reason({ship, {version, Node, There, Here}}) ->
    io_lib:format(
        "~tp has version ~ts of py, this node ~ts; where it was given it by py_cluster:start, start(Node, #{upgrade => true}) stops it and gives it this one",
        [Node, There, Here]
    );
reason({ship, {not_everywhere, Nodes}}) ->
    io_lib:format("nothing was changed, since the module can't be imported on ~ts", [lists:join(", ", [io_lib:format("~tp", [Node]) || Node <- Nodes])]);
reason({ship, {modules, Bytes, Most}}) ->
    io_lib:format("pushed modules would have ~w bytes together, and may have ~w: py_cluster:unpush/1 takes one back", [Bytes, Most]);
reason({ship, {File, Posix}}) when is_binary(File), is_atom(Posix) ->
    io_lib:format("~ts can't be written, nothing was changed: ~ts~ts", [File, file:format_error(Posix), room(Posix, "there (with py_cluster:unpush/1, or py:release/1 of shared memory, too)")]);
reason({ship, {unpack, {Path, Posix}}}) when is_atom(Posix) ->
    io_lib:format("~ts can't be written: ~ts~ts", [Path, file:format_error(Posix), room(Posix, "there, or have XDG_CACHE_HOME of that node name another place")]);
reason({ship, Reason}) -> io_lib:format("the code could not be put there: ~tP", [Reason, 20]);
reason({already_started, Pool}) -> io_lib:format("a pool of that name runs already: ~tP", [Pool, 20]);
reason(cancelled) -> "the call was cancelled";
reason(session_closed) -> "the session is closed: by py_session:close/1, by an eval that gave its value, or with its owner";
reason({session_restarted, Reason}) ->
    [
        "the session's Python ended: ",
        down(Reason),
        "\nThe session has a new one from now on, in which its init runs again; what else was defined is lost."
    ];
reason({too_many_sessions, Most}) ->
    io_lib:format("~w sessions are open, as many as the application's sessions => #{max => ~w} allows", [Most, Most]);
reason({start, Pool, Reason}) -> io_lib:format("pool ~tP did not start: ~ts", [Pool, 20, start_text(Reason)]);
reason({bad_config, Pool, Problem}) ->
    io_lib:format("the configuration of ~ts: ~ts", [configured(Pool), py_options:describe(Problem)]);
reason({page, Text}) -> ["the page: ", characters(Text)];
reason({gateway, Path, Text}) -> io_lib:format("no gateway at ~ts: ~ts", [characters(Path), characters(Text)]);
reason({unknown_service, Name}) -> io_lib:format("there is no service ~tP", [Name, 20]);
reason({service, Name, Text}) -> io_lib:format("service ~ts: ~ts", [Name, characters(Text)]);
reason({link, Text}) -> Text;
reason({state_dir, Path, {locked, OsPid}}) ->
    io_lib:format("another node has the directory ~ts, process ~w: name another state_dir, or have that one do it", [characters(Path), OsPid]);
reason({state_dir, Path, Text}) -> io_lib:format("the directory ~ts: ~ts", [characters(Path), characters(Text)]);
reason({unknown_run, Id}) -> io_lib:format("there is no run ~tP; py_run:list() shows those that there are", [Id, 20]);
reason({run_state, State}) -> io_lib:format("the run is ~ts", [State]);
reason({run, Text}) -> Text;
reason({unknown_entity, Entity}) -> ["there is no ", entity(Entity)];
reason({entity_exists, Entity}) -> ["there is one already: ", entity(Entity)];
reason({entity, Text}) -> characters(Text);
reason({env, Text}) -> Text;
reason(interrupted) -> "interrupted";
reason(Reason) -> io_lib:format("~tP", [Reason, 20]).

entity({Project, <<"project">>, _, _}) -> ["project ", characters(Project)];
entity({Project, Type, Name, <<>>}) -> [characters(Type), $\s, characters(Name), " in the project ", characters(Project)];
entity({Project, Type, Name, Id}) -> [entity({Project, Type, Name, <<>>}), " of the id ", characters(Id)];
entity(Other) -> io_lib:format("~tP", [Other, 20]).

configured(sessions) -> "sessions";
configured(gateway) -> "the gateway";
configured(page) -> "the page";
configured(environments) -> "environments";
configured(py) -> "the application";
configured(Pool) -> io_lib:format("pool ~tP", [Pool, 20]).

down({exit_status, Status, Lines}) -> io_lib:format("exit status ~w~ts", [Status, said(Lines)]);
down({signal, Signal, Lines}) -> io_lib:format("signal ~w~ts~ts", [Signal, signal(Signal), said(Lines)]);
down({memory, Bytes}) ->
    io_lib:format("it had ~w bytes of memory, too many for max_memory, and was killed", [Bytes]);
down({deadline, killed}) -> "it was killed after a call outlived its deadline";
down({protocol, Head}) -> io_lib:format("it broke the protocol with ~tP and was killed", [Head, 20]);
down({flooded, Bytes}) ->
    io_lib:format("it sent faster than what it sends can be dealt with (~w bytes waited) and was killed", [Bytes]);
down(recycled) -> "it was replaced, and this call had not ended within the pool's drain_timeout";
down(stopped) -> "it was stopped";
down(replaced) -> "another has taken its place, which does not have what the first one had begun";
down(restarting) -> "it is being restarted";
down(closed) -> "it closed its port";
down(Reason) -> io_lib:format("~tP", [Reason, 20]).

said("") -> "";
said(Lines) -> ["; the last that it wrote to standard error:\n", Lines].

signal(6) -> " (abort)";
signal(9) -> " (kill)";
signal(11) -> " (segmentation fault)";
signal(15) -> " (termination)";
signal(24) -> " (its CPU seconds are used up)";
signal(_) -> "".

%% @doc Why an interpreter did not start, and what to do about it.
-spec start_text(term()) -> unicode:chardata().
start_text(Reason) -> printable(fun start_told/1, Reason).

start_told({start, Reason}) ->
    start_text(Reason);
start_told({no_python, Source, Path}) ->
    io_lib:format("no executable ~ts (~ts)", [Path, source_text(Source)]);
start_told({no_directory, Path}) ->
    io_lib:format("the pool's cd option names no directory: ~ts", [Path]);
start_told({sandbox, Reason}) ->
    sandbox_text(Reason);
start_told({open_port, Path, Reason}) ->
    io_lib:format("can't start ~ts: ~tp", [Path, Reason]);
start_told({failed, Python, ""}) ->
    io_lib:format("~ts ended before it answered, and said nothing", [Python]);
start_told({failed, Python, Text}) ->
    io_lib:format("~ts did not start:~n~ts", [Python, Text]);
start_told({no_answer, Python, Timeout}) ->
    io_lib:format("~ts did not answer within its start_timeout of ~w ms", [Python, Timeout]);
start_told({configure, Error}) ->
    ["its Python refused the configuration: ", text(Error)];
start_told({import, Error}) ->
    ["a module of the options preload and import failed:\n", text(Error)];
start_told({on_start, Error}) ->
    ["on_start failed:\n", text(Error)];
start_told(Reason) ->
    io_lib:format("~tP", [Reason, 20]).

%% @doc Where the name of an interpreter came from.
-spec source_text(atom()) -> string().
source_text(python_option) -> "from the pool's python option";
source_text('PY_PYTHON') -> "from PY_PYTHON";
source_text('VIRTUAL_ENV') -> "from VIRTUAL_ENV";
source_text(release) -> "that of the release; `release-python' makes it anew";
source_text(checkout) -> "the checkout's virtual environment; `make setup' makes it anew";
source_text(path) -> "looked for on PATH; set PY_PYTHON or the pool's python option".

%% @doc Why there is no box, and what to do about it.
-spec sandbox_text(term()) -> unicode:chardata().
sandbox_text({bwrap, no_program}) ->
    "the sandbox needs bubblewrap, and there is no bwrap on PATH; as root: apt-get install bubblewrap "
    "(Fedora: dnf install bubblewrap, Alpine: apk add bubblewrap)";
sandbox_text({bwrap, {version, Said}}) ->
    io_lib:format("the sandbox needs bubblewrap 0.8.0 or later; bwrap --version says: ~ts", [Said]);
sandbox_text({bwrap, {footprint, Python, Said}}) ->
    io_lib:format("~ts could not say what the sandbox must contain:~n~ts", [Python, Said]);
sandbox_text({bwrap, {max_processes, Kernel}}) ->
    io_lib:format(
        "on Linux ~ts max_processes would count all processes of this user, from 5.14 on those of the sandbox; "
        "max_processes => infinity does without", [Kernel]);
sandbox_text({docker, no_program}) ->
    "the sandbox needs Docker, and there is no docker on PATH; install it (https://docs.docker.com/engine/install), or use "
    "sandbox => bwrap";
sandbox_text({docker, {no_daemon, Said}}) ->
    io_lib:format(
        "the sandbox needs a Docker daemon that this user may talk to; start it (systemctl start docker), or name it in "
        "DOCKER_HOST, or use sandbox => bwrap. docker version says:~n~ts", [Said]);
sandbox_text({docker, {no_image, Image}}) ->
    io_lib:format(
        "there is no image ~ts here; make docker-image builds the default one from docker/Dockerfile, docker pull gets "
        "others", [Image]);
sandbox_text({_, {no_directory, Io}}) ->
    io_lib:format("the pool's io option names no directory: ~ts", [Io]);
sandbox_text({_, {io_link, Io, Link}}) ->
    io_lib:format(
        "the directory ~ts of the pool's io option is reached by the link ~ts, which is neither root's nor of the directory's "
        "owner: whoever made it may not have the right to go there; name the directory itself", [Io, Link]);
sandbox_text({_, {io_owner, Io, Posix}}) ->
    io_lib:format(
        "the directory ~ts of the pool's io option is root's, and is not given to the sandbox's user (~tp); name one below it, "
        "or one that another user than root owns", [Io, Posix]).

room(enospc, Where) -> ["; make room ", Where];
room(_, _Where) -> "".

%% @doc A text as UTF-8, whatever it was made of.
-spec utf8(term()) -> unicode:unicode_binary().
utf8(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> unicode:characters_to_binary(characters(Text))
    catch
        error:badarg -> unicode:characters_to_binary(characters(Text))
    end.

%% What a text has that is no character is shown as one that says so. (A `str' of Python's can have half of a surrogate pair.)
characters([First | Rest]) when is_list(Rest) -> [characters(First) | characters(Rest)];
characters([First | Rest]) -> [characters(First), characters(Rest)];
characters([]) -> [];
characters(C) when is_integer(C), C >= 0, C < 16#d800; is_integer(C), C > 16#dfff, C =< 16#10ffff -> C;
characters(Bytes) when is_binary(Bytes) ->
    case unicode:characters_to_list(Bytes) of
        List when is_list(List) -> List;
        _ -> binary_to_list(Bytes)
    end;
characters(_) -> 16#fffd.
