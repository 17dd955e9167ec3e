%%% A node of its own for tests that kill it: it does what it is told, line by line, until its standard input ends.
-module(py_runs_node).

-export([start/0, start/1, call/2, call/3, cast/2, os_pid/1, kill/1, stop/1]).
-export([serve/0, with_runs/2]).

-define(CALL_MS, 30_000).

-record(node, {port :: port(), os_pid :: pos_integer()}).

%% @doc Start one.
start() -> start("").

%% @doc The same, behind a command of the shell, such as one that limits it.
start(Before) ->
    Path = lists:join(" ", [["'", filename:absname(Dir), "'"] || Dir <- lists:usort([filename:dirname(code:which(Module)) || Module <- [py, ?MODULE]])]),
    Command = [Before, " exec erl -noinput -boot start_clean -pa ", Path, " -eval 'py_runs_node:serve().'"],
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", unicode:characters_to_list(Command)]}, {packet, 4}, use_stdio, binary, exit_status, hide]),
    Node = #node{port = Port, os_pid = 0},
    Node#node{os_pid = list_to_integer(call(Node, {os, getpid, []}))}.

os_pid(#node{os_pid = OsPid}) -> OsPid.

%% @doc What a function gives there.
call(Node, Call) -> call(Node, Call, ?CALL_MS).

call(#node{port = Port} = Node, Call, Timeout) ->
    cast(Node, Call),
    receive
        {Port, {data, Bytes}} ->
            case binary_to_term(Bytes) of
                {ok, Value} -> Value;
                {failed, Why} -> error({failed, Call, Why})
            end;
        {Port, {exit_status, Status}} -> error({ended, Status, Call})
    after Timeout -> error({no_answer, Call})
    end.

cast(#node{port = Port}, Call) -> port_command(Port, term_to_binary(Call)).

%% @doc `kill -9', and nothing else of it: what it has started finds out by itself.
kill(#node{port = Port, os_pid = OsPid}) ->
    py_os_process:kill(OsPid),
    gone(Port).

stop(#node{port = Port} = Node) ->
    cast(Node, stop),
    gone(Port).

gone(Port) ->
    receive
        {Port, {exit_status, _}} -> ok;
        {Port, {data, _}} -> gone(Port)
    after ?CALL_MS -> error(not_gone)
    end.

%%% There

serve() ->
    %% What the log says is for people.
    _ = logger:remove_handler(default),
    Port = open_port({fd, 0, 1}, [{packet, 4}, binary, eof]),
    serve(Port).

serve(Port) ->
    receive
        {Port, {data, Bytes}} ->
            case binary_to_term(Bytes) of
                stop -> _ = py:stop(), halt(0, [{flush, false}]);
                {Module, Function, Args} ->
                    Answer = try {ok, apply(Module, Function, Args)} catch Class:Reason:Stack -> {failed, {Class, Reason, Stack}} end,
                    port_command(Port, term_to_binary(Answer)),
                    serve(Port)
            end;
        {Port, eof} -> halt(0, [{flush, false}]);
        _ -> serve(Port)
    end.

%% @doc Start the application there with this directory and these options of its one pool.
with_runs(Directory, Pool) ->
    _ = application:load(py),
    application:set_env(py, pools, [{default, Pool}]),
    _ = Directory =:= none orelse application:set_env(py, state_dir, Directory),
    {ok, started} = py:start(),
    ok.
