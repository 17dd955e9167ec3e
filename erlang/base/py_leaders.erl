%%% @doc Group leaders that take log records, too: a connection's process is one. What a task logs is on its way there before its answer, since
%%% the worker itself sends both.
%%%
%%% A leader has so many records before it at the most; more are counted only.
%%% @private
-module(py_leaders).

-export([new/0, open/1, is_one/1, take/1, tell/4, others/0, send/5]).
-export_type([words/0, record/0]).

-opaque words() :: atomics:atomics_ref().
%% Of a leader: the records that it has not taken, and those that were dropped.
-type record() :: {py_record, logger:level(), Text :: unicode:chardata(), Metadata :: map()}.
%% What a leader gets.

-define(TABLE, ?MODULE).
-define(MOST_RECORDS, 1_000).
-define(UNTAKEN, 1).
-define(LOST, 2).

%% @doc Make the table; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}]),
    ok.

%% @doc The calling process takes the records of those whose leader it is, or also (`others') those of nobody's tasks.
-spec open(own | others) -> words().
open(Which) ->
    Words = atomics:new(2, []),
    true = ets:insert(?TABLE, [{self(), Words} | [{{others, self()}, Words} || Which =:= others]]),
    Words.

-spec is_one(pid()) -> boolean().
is_one(Leader) ->
    try
        ets:member(?TABLE, Leader)
    catch
        error:badarg -> false
    end.

%% @doc The leader has taken a record; how many were dropped since it took the last one.
-spec take(words()) -> Dropped :: non_neg_integer().
take(Words) ->
    atomics:sub(Words, ?UNTAKEN, 1),
    case atomics:get(Words, ?LOST) of
        0 -> 0;
        _ -> atomics:exchange(Words, ?LOST, 0)
    end.

%% @doc Give a record to a leader that takes them; whether it is one.
-spec tell(Leader :: pid(), logger:level(), unicode:chardata(), map()) -> boolean().
tell(Leader, Level, Text, Metadata) ->
    try ets:lookup(?TABLE, Leader) of
        [{_, Words}] -> send(Leader, Words, Level, Text, Metadata), true;
        [] -> false
    catch
        %% Nobody has opened one.
        error:badarg -> false
    end.

%% @doc Who takes the records of nobody's tasks.
-spec others() -> [{pid(), words()}].
others() ->
    try
        [{Leader, Words} || [Leader, Words] <- ets:match(?TABLE, {{others, '$1'}, '$2'})]
    catch
        error:badarg -> []
    end.

%% @doc Give it one. What a leader that has ended has here is forgotten.
-spec send(pid(), words(), logger:level(), unicode:chardata(), map()) -> ok.
send(Leader, Words, Level, Text, Metadata) ->
    case is_process_alive(Leader) of
        true ->
            case atomics:add_get(Words, ?UNTAKEN, 1) =< ?MOST_RECORDS of
                true ->
                    Leader ! {py_record, Level, Text, Metadata},
                    ok;
                false ->
                    atomics:sub(Words, ?UNTAKEN, 1),
                    atomics:add(Words, ?LOST, 1)
            end;
        false ->
            close(Leader)
    end.

close(Leader) ->
    true = ets:delete(?TABLE, Leader),
    true = ets:delete(?TABLE, {others, Leader}),
    ok.
