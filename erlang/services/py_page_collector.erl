%%% @doc The process that looks at the node for the page. It alone has what two looks are compared by; it looks when it is asked, and asks workers for
%%% a second at the most, so the page's own process never waits.
%%% @private
-module(py_page_collector).

-export([start_link/0, take/1]).

-define(FORGET_MS, 60_000).

%% @doc Start it; the calling process is who is told.
-spec start_link() -> pid().
start_link() ->
    Owner = self(),
    proc_lib:spawn_link(fun() -> loop(Owner, py_page_rows:new(), now_ms()) end).

%% @doc Have it look: `{view, Collector, View, Ms}' comes, with how long it took.
-spec take(pid()) -> ok.
take(Collector) ->
    Collector ! take,
    ok.

loop(Owner, History, LastMs) ->
    receive
        take ->
            Began = now_ms(),
            %% What was seen long ago says nothing of now.
            Known = if Began - LastMs > ?FORGET_MS -> py_page_rows:new(); true -> History end,
            {View, Next} = py_page_rows:take(Known),
            Owner ! {view, self(), View, now_ms() - Began},
            loop(Owner, Next, Began);
        _ ->
            loop(Owner, History, LastMs)
    end.

now_ms() -> erlang:monotonic_time(millisecond).
