%%% @doc Log records on their way to drivers: a handler of `logger', which hands each record to the connection whose task has logged it, and
%%% those of nobody's tasks to who asked for the node's log.
%%%
%%% It runs in the process that logs, so it makes texts there and waits for nobody: a connection has so many records before it at the
%%% most, and more are counted only.
%%% @private
-module(py_gateway_log).

-export([new/0, open/1, is_taken/1, start/0, stop/0]).
%% logger's.
-export([log/2]).
-export_type([record/0]).

-type record() :: {py_log, logger:level(), Text :: binary(), Meta :: map()}.

-define(TABLE, ?MODULE).
-define(HANDLER, py_gateway).
-define(MOST_RECORDS, 1_000).
-define(MOST_BYTES, 65_536).
%% Of a connection's words: records that it has not taken, and those that were dropped.
-define(UNTAKEN, 1).
-define(LOST, 2).

%% @doc Make the table; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}]),
    ok.

%% @doc Have `logger' call this module.
-spec start() -> ok.
start() ->
    _ = logger:add_handler(?HANDLER, ?MODULE, #{level => all, filter_default => log}),
    ok.

-spec stop() -> ok.
stop() ->
    _ = logger:remove_handler(?HANDLER),
    ok.

%% @doc Have records sent to the calling connection, whose group leader it is itself: those of its tasks, or the node's, too.
-spec open(tasks | node) -> atomics:atomics_ref().
open(Which) ->
    Words = atomics:new(2, []),
    true = ets:insert(?TABLE, [{self(), self(), Words} | [{{node, self()}, self(), Words} || Which =:= node]]),
    Words.

%% @doc The connection has taken a record; how many were dropped since it took the last one.
-spec is_taken(atomics:atomics_ref()) -> Dropped :: non_neg_integer().
is_taken(Words) ->
    atomics:sub(Words, ?UNTAKEN, 1),
    case atomics:get(Words, ?LOST) of
        0 -> 0;
        _ -> atomics:exchange(Words, ?LOST, 0)
    end.

%% @doc One record.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(#{level := Level, meta := Meta} = Event, _Config) ->
    lists:foreach(
        fun({Key, Connection, Words}) ->
            case is_process_alive(Connection) of
                true -> send(Connection, Words, Level, Event);
                false -> ets:delete(?TABLE, Key)
            end
        end,
        receivers(maps:get(gl, Meta, undefined))
    ).

receivers(Leader) ->
    try ets:lookup(?TABLE, Leader) of
        [] -> ets:match_object(?TABLE, {{node, '_'}, '_', '_'});
        Own -> Own
    catch
        %% The gateways have ended.
        error:badarg -> []
    end.

send(Connection, Words, Level, Event) ->
    case atomics:add_get(Words, ?UNTAKEN, 1) =< ?MOST_RECORDS of
        true ->
            Connection ! {py_log, Level, text(Event), meta(Event)},
            ok;
        false ->
            atomics:sub(Words, ?UNTAKEN, 1),
            atomics:add(Words, ?LOST, 1)
    end.

text(Event) ->
    Chars = logger_formatter:format(Event, #{template => [msg], single_line => false, max_size => ?MOST_BYTES}),
    case unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        _ -> iolist_to_binary(io_lib:format("~tp", [Chars]))
    end.

meta(#{meta := Meta}) ->
    maps:from_list(
        [{logger, text_of(maps:get(py_logger, Meta, "erl.node"))}, {time, maps:get(time, Meta, 0)}] ++
            [{file, text_of(File)} || #{file := File} <- [Meta]] ++
            [{line, Line} || #{line := Line} <- [Meta], is_integer(Line)]
    ).

text_of(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> <<>>
    catch
        error:badarg -> <<>>
    end.
