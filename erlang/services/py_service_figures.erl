%%% @doc What fronts count, read, put together, and told.
%%% @private
-module(py_service_figures).

-export([read/1, sum/1, told/1, text/1]).
-export_type([figures/0]).

-type figures() :: #{
    statuses => #{100..599 => non_neg_integer()},
    places => [non_neg_integer()],
    microseconds => non_neg_integer(),
    left => non_neg_integer(),
    open => non_neg_integer()
}.

%% Seconds; `python/erl/serving/figures.py' has them, too.
-define(BOUNDS, [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, infinity]).

%% @doc What a front has said, as far as it is what it should be.
-spec read(map()) -> figures().
read(Said) ->
    Statuses = [{Status, Count} || {Status, Count} <- maps:to_list(of_map(statuses, Said)), is_status(Status), is_count(Count)],
    Places = case Said of #{places := List} when length(List) =:= length(?BOUNDS) -> [Count || Count <- List, is_count(Count)]; _ -> [] end,
    #{
        statuses => maps:from_list(Statuses),
        places => if length(Places) =:= length(?BOUNDS) -> Places; true -> none() end,
        microseconds => count(microseconds, Said),
        left => count(left, Said),
        open => count(open, Said)
    }.

none() -> [0 || _ <- ?BOUNDS].

of_map(Key, Said) ->
    case Said of
        #{Key := Map} when is_map(Map) -> Map;
        _ -> #{}
    end.

count(Key, Said) ->
    case Said of
        #{Key := Count} when is_integer(Count), Count >= 0 -> Count;
        _ -> 0
    end.

is_status(Status) -> is_integer(Status) andalso Status >= 100 andalso Status =< 599.
is_count(Count) -> is_integer(Count) andalso Count >= 0.

%% @doc Several together.
-spec sum([figures()]) -> figures().
sum(All) -> lists:foldl(fun add/2, #{statuses => #{}, places => none(), microseconds => 0, left => 0, open => 0}, All).

add(One, Acc) ->
    Statuses = maps:fold(
        fun(Status, Count, Sums) -> maps:update_with(Status, fun(Sum) -> Sum + Count end, Count, Sums) end,
        maps:get(statuses, Acc),
        maps:get(statuses, One, #{})
    ),
    Sums = maps:from_list([{Key, maps:get(Key, Acc) + maps:get(Key, One, 0)} || Key <- [microseconds, left, open]]),
    Sums#{statuses => Statuses, places => lists:zipwith(fun(A, B) -> A + B end, maps:get(places, Acc), maps:get(places, One, none()))}.

%% @doc The figures of a service, for people.
-spec told([figures()]) -> map().
told(All) ->
    #{statuses := Statuses, places := Places, microseconds := Us, left := Left, open := Open} = sum(All),
    #{
        statuses => Statuses,
        requests => lists:sum(maps:values(Statuses)),
        latencies => lists:zip(?BOUNDS, Places),
        seconds => Us / 1_000_000,
        left => Left,
        open => Open
    }.

%% @doc The metrics of this node with those of its services, in Prometheus' text format.
-spec text([py_service:info()]) -> binary().
text(Services) ->
    py_metrics:text([
        {<<"py_service_requests_total">>, counter, <<"Answers, by status.">>, [
            {[{<<"service">>, Name}, {<<"status">>, integer_to_binary(Status)}], Count}
         || #{name := Name, statuses := Statuses} <- Services, {Status, Count} <- lists:sort(maps:to_list(Statuses))
        ]},
        {<<"py_service_clients_left_total">>, counter, <<"Clients that went away before their answer.">>, each(left, Services)},
        {<<"py_service_open_requests">>, gauge, <<"Requests without an answer.">>, each(open, Services)},
        {<<"py_service_replicas">>, gauge, <<"Replicas that the service has.">>, each(replicas, Services)},
        {<<"py_service_request_seconds">>, histogram, <<"How long answers took.">>, [
            {[{<<"service">>, Name}], histogram(Service)} || #{name := Name} = Service <- Services
        ]}
    ]).

each(Key, Services) -> [{[{<<"service">>, Name}], maps:get(Key, Service)} || #{name := Name} = Service <- Services].

histogram(#{latencies := Latencies, seconds := Seconds}) ->
    {Buckets, All} = lists:mapfoldl(fun({Bound, Count}, Before) -> {{Bound, Before + Count}, Before + Count} end, 0, Latencies),
    {[{round(Bound * 1_000_000), Below} || {Bound, Below} <- Buckets, Bound =/= infinity], round(Seconds * 1_000_000), All}.
