%%% A Common Test hook: of a case that fails, and whose end then finds what it left, the case's own failure is reported.
-module(py_first_failure).

-export([init/2, post_end_per_testcase/5]).

-spec init(term(), term()) -> {ok, no_state}.
init(_Id, _Options) -> {ok, no_state}.

-spec post_end_per_testcase(module(), atom(), list(), term(), State) -> {term(), State}.
post_end_per_testcase(_Suite, Case, Config, {error, Left} = Failed, State) ->
    case proplists:get_value(tc_status, Config) of
        {failed, Reason} ->
            ct:log("~p left: ~tP", [Case, Left, 30]),
            {{fail, Reason}, State};
        _ ->
            {Failed, State}
    end;
post_end_per_testcase(_Suite, _Case, _Config, Return, State) ->
    {Return, State}.
