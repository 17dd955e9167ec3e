%%% @doc Calls that wait for Erlang, and those that are made for what they wait for: how many, and which can never begin.
%%% @private
-module(py_nesting).

-export([depth/1, is_too_deep/2, is_asked_for/2]).

-include("py_calls.hrl").

%% How many calls wait inside each other in Python at the most; the others wait in order.
-define(MOST_NESTED, 64).
%% How many calls in threads may wait for Erlang at the most.
-define(MOST_ASKING, 512).

%% @doc How many calls wait for Erlang.
-spec depth(calls()) -> non_neg_integer().
depth(#calls{sent = Sent}) -> py_inflight:depth(Sent) + py_inflight:asking(Sent).

%% @doc Whether Python lets no more calls nest, and this one would wait for an answer that waits for it.
-spec is_too_deep(map(), calls()) -> boolean().
is_too_deep(Call, #calls{threads = Threads, sent = Sent} = Calls) when Threads > 1 ->
    py_inflight:asking(Sent) >= ?MOST_ASKING andalso is_asked_for(Call, Calls);
is_too_deep(#{caller := Caller}, #calls{sent = Sent, questions = Questions, alone = Alone}) ->
    Innermost = [Question || py_inflight:depth(Sent) >= ?MOST_NESTED, {ok, Question} <- [py_inflight:innermost(Sent)]],
    lists:any(
        fun(Question) ->
            is_map_key(Question, Questions) andalso py_request:is_run_by(Caller, map_get(Question, Questions))
        end,
        Innermost ++ Alone
    ).

%% @doc Whether a call that waits for Erlang waits for this one.
-spec is_asked_for(map(), calls()) -> boolean().
is_asked_for(#{caller := Caller}, #calls{questions = Questions}) -> py_request:is_run_for(Caller, maps:values(Questions)).
