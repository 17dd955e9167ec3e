%%% @doc Log records on their way to drivers. What a task logs its worker has told (`py_leaders'); this is a handler of `logger' for what else
%%% there is: the records of functions that a driver calls, and the node's own, for who asks for them.
%%%
%%% It runs in the process that logs, and waits for nobody.
%%% @private
-module(py_gateway_log).

-export([start/0, stop/0, message/3]).
%% logger's.
-export([log/2]).

-define(HANDLER, py_gateway).
-define(MOST_BYTES, 65_536).

%% @doc Have `logger' call this module.
-spec start() -> ok.
start() ->
    _ = logger:add_handler(?HANDLER, ?MODULE, #{level => all, filter_default => log}),
    ok.

-spec stop() -> ok.
stop() ->
    _ = logger:remove_handler(?HANDLER),
    ok.

%% @doc One record.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(#{meta := #{py_told := true}}, _Config) ->
    ok;
log(#{level := Level, meta := Meta} = Event, _Config) ->
    Text = text(Event),
    case py_leaders:tell(maps:get(gl, Meta, self()), Level, Text, Meta) of
        true -> ok;
        false -> lists:foreach(fun({Leader, Words}) -> py_leaders:send(Leader, Words, Level, Text, Meta) end, py_leaders:others())
    end.

text(Event) -> logger_formatter:format(Event, #{template => [msg], single_line => false, max_size => ?MOST_BYTES}).

%% @doc A record as the link has it.
-spec message(logger:level(), unicode:chardata(), map()) -> {log, logger:level(), binary(), map()}.
message(Level, Text, Meta) ->
    Said = [{logger, utf8(maps:get(py_logger, Meta, "erl.node"))}, {time, maps:get(time, Meta, 0)}],
    Place = [{file, utf8(File)} || #{file := File} <- [Meta]] ++ [{line, Line} || #{line := Line} <- [Meta], is_integer(Line)],
    {log, Level, utf8(Text), maps:from_list(Said ++ Place)}.

utf8(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> iolist_to_binary(io_lib:format("~tp", [Text]))
    catch
        error:badarg -> iolist_to_binary(io_lib:format("~tp", [Text]))
    end.
