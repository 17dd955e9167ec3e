%%% @doc Services and environments as rows of the page.
%%% @private
-module(py_page_services).

-export([list/0, row/3, environments/0]).

-define(MOST_TEXT, 300).
-define(MOST_WARNINGS, 3).
-define(MOST_MS, 1_000).

%% @doc The services that run, with their figures.
-spec list() -> [py_service:info()].
list() ->
    case within(fun py_service:list/0) of
        {ok, Services} -> Services;
        error -> []
    end.

%% @doc One of them, with its rate, and latencies since those that were `Then'.
-spec row(py_service:info(), Rate :: number(), Then :: none | [{float() | infinity, non_neg_integer()}]) -> {Id :: binary(), map()}.
row(#{name := Name, state := State, url := Url, statuses := Statuses, latencies := Now} = Service, Rate, Then) ->
    Between = between(Now, Then),
    {py_page_text:clean(Name, ?MOST_TEXT), #{
        name => py_page_text:clean(Name, ?MOST_TEXT),
        handler => py_page_text:clean(maps:get(handler, Service, <<>>), ?MOST_TEXT),
        state => State,
        url => py_page_text:clean(Url, ?MOST_TEXT),
        replicas => maps:get(replicas, Service, 0),
        open => maps:get(open, Service, 0),
        rate => Rate,
        requests => maps:get(requests, Service, 0),
        failed => lists:sum([Count || {Status, Count} <- maps:to_list(Statuses), Status >= 500]),
        p50_us => quantile(50, Between),
        p99_us => quantile(99, Between)
    }}.

between(Now, Then) when length(Now) =:= length(Then) ->
    [{Bound, max(0, Count - Before)} || {{Bound, Count}, {_, Before}} <- lists:zip(Now, Then)];
between(Now, _Then) ->
    Now.

quantile(Percent, Counts) ->
    case lists:sum([Count || {_, Count} <- Counts]) of
        0 -> undefined;
        All -> reached((All * Percent + 99) div 100, Counts, 0)
    end.

%% Of what is beyond the last bound nothing more is known.
reached(Rank, [{infinity, _}], LastUs) when Rank > 0 -> LastUs;
reached(Rank, [{Bound, Count} | _], LastUs) when Rank =< Count -> if is_number(Bound) -> round(Bound * 1_000_000); true -> LastUs end;
reached(Rank, [{Bound, Count} | Rest], LastUs) -> reached(Rank - Count, Rest, if is_number(Bound) -> round(Bound * 1_000_000); true -> LastUs end);
reached(_Rank, [], LastUs) -> LastUs.

%% @doc The environments that were built. Where there was no run, nobody has any, and nothing is started to say so.
%% `error' where that takes long, as it may while some are deleted.
-spec environments() -> {ok, [{Id :: binary(), map()}]} | error.
environments() ->
    case py_run_table:is_read() andalso within(fun py_env:list/0) of
        {ok, Environments} -> {ok, [environment(Each) || Each <- Environments]};
        false -> {ok, []};
        error -> error
    end.

environment(#{key := Key, python_version := Version, requirements := Requirements, bytes := Bytes, used := Used} = Environment) ->
    Warnings = lists:sublist(maps:get(warnings, Environment, []), ?MOST_WARNINGS),
    {py_page_text:clean(Key, ?MOST_TEXT), #{
        python => py_page_text:clean(Version, ?MOST_TEXT),
        tool => py_page_text:clean(maps:get(tool, Environment, <<>>), ?MOST_TEXT),
        requirements => py_page_text:clean(iolist_to_binary(lists:join(<<", ">>, Requirements)), ?MOST_TEXT),
        packages => length(maps:get(packages, Environment, [])),
        bytes => Bytes,
        used_ms => Used,
        message => py_page_text:clean(iolist_to_binary(lists:join(<<"; ">>, Warnings)), ?MOST_TEXT)
    }}.

%% What does not answer, or fails, costs its table alone. Its reason is what the other process has to say.
-dialyzer({nowarn_function, within/1}).
within(List) ->
    {Pid, Monitor} = spawn_monitor(fun() -> case List() of Said when is_list(Said) -> exit({said, Said}); _ -> error end end),
    receive
        {'DOWN', Monitor, process, Pid, {said, Said}} -> {ok, Said};
        {'DOWN', Monitor, process, Pid, _} -> error
    after ?MOST_MS ->
        demonitor(Monitor, [flush]),
        exit(Pid, kill),
        error
    end.
