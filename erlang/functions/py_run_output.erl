%%% @doc Where what a sandboxed Python prints for a run goes, which writes no file itself: a group leader that adds it to the run's log, with stars in
%%% the place of secrets.
%%% @private
-module(py_run_output).

-export([start/3, written/0]).

-define(HIDDEN, <<"***">>).
-define(LEAST_HIDDEN_BYTES, 3).
%% How long a disk may take for what was printed.
-define(WRITTEN_MS, 5_000).

%% @doc Start one that ends with the calling process.
-spec start(file:filename_all(), py_run_state:id(), Secrets :: [binary()]) -> pid().
start(Runs, Id, Secrets) ->
    Owner = self(),
    spawn(fun() ->
        Monitor = monitor(process, Owner),
        loop(Runs, Id, [Secret || Secret <- Secrets, byte_size(Secret) >= ?LEAST_HIDDEN_BYTES], Monitor)
    end).

%% @doc Wait until what came before is in the log, in the process that has started it.
-spec written() -> ok.
written() ->
    Monitor = monitor(process, group_leader()),
    group_leader() ! {io_request, self(), Monitor, {put_chars, unicode, <<>>}},
    receive
        {io_reply, Monitor, _} -> ok;
        {'DOWN', Monitor, process, _, _} -> ok
    after ?WRITTEN_MS -> ok
    end,
    true = demonitor(Monitor, [flush]),
    ok.

loop(Runs, Id, Secrets, Monitor) ->
    receive
        {io_request, From, ReplyAs, Request} ->
            From ! {io_reply, ReplyAs, answered(py_gateway_output:request(Request), Runs, Id, Secrets)},
            loop(Runs, Id, Secrets, Monitor);
        {'DOWN', Monitor, process, _, _} ->
            ok;
        _ ->
            loop(Runs, Id, Secrets, Monitor)
    end.

answered({text, Text, Reply}, Runs, Id, Secrets) ->
    add(Text, Runs, Id, Secrets),
    Reply;
%% Nothing but texts comes from Python.
answered({format, _}, _Runs, _Id, _Secrets) ->
    {error, request};
answered({reply, Reply}, _Runs, _Id, _Secrets) ->
    Reply.

add(<<>>, _Runs, _Id, _Secrets) ->
    ok;
add(Text, Runs, Id, []) ->
    py_run_files:add_to_log(Runs, Id, Text);
add(Text, Runs, Id, [Secret | Secrets]) ->
    add(binary:replace(Text, Secret, ?HIDDEN, [global]), Runs, Id, Secrets).
