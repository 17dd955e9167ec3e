%%% Runs ErlPort's EUnit module `python3_tests' and says how many of its items pass; the ones that do not, one by one.
-module(erlport_items).
-behaviour(eunit_listener).

-export([run/1]).
-export([start/1, init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

-define(MOST_CHARACTERS, 600).

-record(state, {pairing :: string(), passed = 0 :: non_neg_integer(), failed = 0 :: non_neg_integer()}).

%% @doc Run them in this pairing of halves and end the BEAM: with status 0 if all have passed.
-spec run(string()) -> no_return().
run(Pairing) ->
    case eunit:test(python3_tests, [no_tty, {report, {?MODULE, [{pairing, Pairing}]}}]) of
        ok -> halt(0);
        error -> halt(1)
    end.

start(Options) -> eunit_listener:start(?MODULE, Options).

init(Options) -> #state{pairing = proplists:get_value(pairing, Options)}.

handle_begin(_Kind, _Data, State) -> State.

handle_end(test, Data, #state{passed = Passed} = State) ->
    case proplists:get_value(status, Data) of
        ok -> State#state{passed = Passed + 1};
        Status -> failed(Data, Status, State)
    end;
handle_end(group, _Data, State) ->
    State.

handle_cancel(test, Data, State) -> failed(Data, cancelled, State);
handle_cancel(group, Data, State) ->
    case proplists:get_value(reason, Data) of
        undefined -> State;
        Reason -> failed(Data, Reason, State)
    end.

failed(Data, Why, #state{pairing = Pairing, failed = Failed} = State) ->
    Source = proplists:get_value(source, Data),
    Line = proplists:get_value(line, Data),
    Text = io_lib:format("~tp", [Why]),
    io:format("~ts: not ok: ~p, line ~p: ~ts~n", [Pairing, Source, Line, string:slice(Text, 0, ?MOST_CHARACTERS)]),
    State#state{failed = Failed + 1}.

terminate({ok, _}, #state{pairing = Pairing, passed = Passed, failed = Failed}) ->
    io:format("~-13ts ~b of ~b~n", [Pairing, Passed, Passed + Failed]);
terminate({error, Reason}, #state{pairing = Pairing}) ->
    io:format("~ts: ~tp~n", [Pairing, Reason]).
